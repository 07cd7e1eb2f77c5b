# SPDX-License-Identifier: Apache-2.0
# What the compiler and the linker do against exploitation, the same for GCC and Clang. tests/scenario/hardening.bats reads
# each of these out of the built programs (tests/lib/binary_hardening.py), so a flag that silently falls away fails there.
#
# Left out on purpose: -ftrivial-auto-var-init=zero (buffers of messages and errors are large and it would hide reads of
# unset memory from valgrind), control-flow integrity of Clang (needs link-time optimisation, GCC has none).
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)

add_compile_options(-fstack-protector-strong
                    -fno-strict-overflow              # an overflow of ours must not delete the check behind it
                    -fno-delete-null-pointer-checks)
# GCC writes its options into the debug information by itself, Clang when asked: the test reads them there.
if(CMAKE_C_COMPILER_ID MATCHES Clang)
  add_compile_options(-grecord-command-line)
endif()
# Each depends on the architecture: a guard page cannot be jumped over; only marked places may be called and returned to.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(branches -mbranch-protection=standard)
else()
  set(branches -fcf-protection=full)
endif()
foreach(flag -fstack-clash-protection ${branches})
  string(MAKE_C_IDENTIFIER "HAVE${flag}" have)
  check_c_compiler_flag(${flag} ${have})
  if(${have})
    add_compile_options(${flag})
  endif()
endforeach()

# FORTIFY needs an optimising build; AddressSanitizer and ThreadSanitizer have their own wrappers of the same functions.
# Level 3 also checks buffers whose size is known only at run time (GCC 12, Clang 9, glibc 2.34).
if(NOT INKAN_SANITIZE AND NOT INKAN_TSAN)
  set(CMAKE_REQUIRED_FLAGS "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_c_source_compiles("#include <string.h>
    #if !defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL < 3
    #error this C library or compiler has no level 3
    #endif
    int main(void) { return 0; }" HAVE_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  set(INKAN_FORTIFY 2)
  if(HAVE_FORTIFY_3)
    set(INKAN_FORTIFY 3)
  endif()
  # A distribution's compiler may define a level of its own.
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=${INKAN_FORTIFY}>)
endif()

add_link_options(-pie -Wl,-z,relro -Wl,-z,now         # addresses are random, their table is read-only before main
                 -Wl,-z,noexecstack -Wl,-z,separate-code
                 -Wl,--as-needed)
