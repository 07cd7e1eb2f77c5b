# SPDX-License-Identifier: Apache-2.0
# Requests that an operator signs: written by the CLI, read by the core and by whoever verifies the trail.
inkan_module(signed SOURCES signed_request.c USES base LIBS PkgConfig::JANSSON PkgConfig::CRYPTO)
