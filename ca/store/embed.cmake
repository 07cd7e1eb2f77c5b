# SPDX-License-Identifier: Apache-2.0
# cmake -DFOLDER=... -DOUTPUT=... -P embed.cmake: writes the migrations NNNN_name.sql of FOLDER as C arrays, in order.
file(GLOB files ${FOLDER}/[0-9][0-9][0-9][0-9]_*.sql)
list(SORT files)
set(arrays "")
set(rows "")
set(last 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME_WE)
  string(SUBSTRING ${name} 0 4 digits)
  string(REGEX REPLACE "^0+" "" number ${digits})
  if(NOT number GREATER last)
    message(FATAL_ERROR "migration ${name}: another one has number ${last}")
  endif()
  set(last ${number})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," octets "${hex}")
  string(APPEND arrays "static const char sql_${digits}[] = {${octets}0};\n")
  string(APPEND rows "    {${number}, \"${name}\", sql_${digits}},\n")
endforeach()
file(WRITE ${OUTPUT} "/* Made from ca/store/schema by embed.cmake. */
#include \"ca/store/store_int.h\"

${arrays}
const struct migration migrations[] = {
${rows}};
const size_t migrations_n = sizeof(migrations) / sizeof(migrations[0]);
")
