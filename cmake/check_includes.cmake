cmake_minimum_required(VERSION 3.25)

# Fails the build when a file of src/<FOLDER> includes a header of a folder that the table in
# docs/architecture.md does not allow, or a socket library outside src/http.
# Usage: cmake -DFOLDER=text -DROOT=... "-DMAY_INCLUDE=base" -P check_includes.cmake

set(allowed ${FOLDER} ${MAY_INCLUDE})
file(GLOB_RECURSE files "${ROOT}/src/${FOLDER}/*.cpp" "${ROOT}/src/${FOLDER}/*.h")
set(problems "")
foreach(file IN LISTS files)
  file(RELATIVE_PATH shown "${ROOT}" "${file}")
  file(STRINGS "${file}" lines REGEX "^[ \t]*#[ \t]*include")
  foreach(line IN LISTS lines)
    if(line MATCHES "\"([a-z_]+)/")
      set(other "${CMAKE_MATCH_1}")
      # Only top-level folders of src/ count; "cpu/x.h" inside kernels is the folder's own business.
      if(IS_DIRECTORY "${ROOT}/src/${other}" AND NOT other IN_LIST allowed)
        string(APPEND problems "  ${shown}: src/${FOLDER} may not include src/${other} (${line})\n")
      endif()
    endif()
    if(NOT FOLDER STREQUAL "http" AND line MATCHES "boost/(beast|asio)")
      string(APPEND problems "  ${shown}: only src/http may include Boost.Beast or Boost.Asio\n")
    endif()
  endforeach()
endforeach()
if(problems)
  message(FATAL_ERROR "The include table of docs/architecture.md is broken:\n${problems}")
endif()
