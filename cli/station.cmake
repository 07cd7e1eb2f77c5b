# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan-station SOURCES inkan-station.c USES station)
inkan_program(inkan-simdevice SOURCES inkan-simdevice.c LIBS PkgConfig::CRYPTO)
