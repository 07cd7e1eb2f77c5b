# SPDX-License-Identifier: Apache-2.0
# Messages between the processes of the authority and the front.
inkan_module(wire SOURCES service.c audience.c follow.c USES base)
