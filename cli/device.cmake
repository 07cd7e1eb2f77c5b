# SPDX-License-Identifier: Apache-2.0
inkan_program(inkan-device SOURCES inkan-device.c USES device)
