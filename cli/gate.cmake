# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan-gate SOURCES inkan-gate.c USES gate)
