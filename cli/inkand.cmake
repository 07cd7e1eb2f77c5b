# SPDX-License-Identifier: Apache-2.0
inkan_program(inkand
  SOURCES inkand.c inkand_host.c inkand_pin.c inkand_run.c
  USES pki base
  LIBS PkgConfig::CAP)
