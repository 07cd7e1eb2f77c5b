# SPDX-License-Identifier: Apache-2.0
# inkan-status: OCSP from a replica of the status log. It links neither the ledger nor PKCS#11.
inkan_module(status
  SOURCES access.c clock_rule.c decide.c decider.c feed.c follower.c replica.c replica_merge.c replica_stage.c responder.c
  USES hsm_client lint pki wire base
  LIBS PkgConfig::CRYPTO PkgConfig::EVENT PkgConfig::SQLITE)
inkan_program(inkan-status
  SOURCES status_main.c
  USES status hsm_client lint pki wire base)
