# Writes OUTPUT, a CTest file with a test for each suite that the GoogleTest program PROGRAM lists: what a
# suite sets up is set up once, and a process starts for each suite instead of each case.
#   cmake -DPROGRAM=... -DOUTPUT=... -P discover_suites.cmake

execute_process(COMMAND "${PROGRAM}" --gtest_list_tests OUTPUT_VARIABLE listed TIMEOUT 120
                COMMAND_ERROR_IS_FATAL ANY)
# A line of a suite begins at its margin and ends with a point or, of typed suites, a comment.
string(REGEX MATCHALL "(^|\n)[A-Za-z0-9_/]+\\." suites "${listed}")
if(NOT suites)
  message(FATAL_ERROR "${PROGRAM} lists no test")
endif()
set(content "")
foreach(line IN LISTS suites)
  string(REGEX REPLACE "^\n|\\.$" "" suite "${line}")
  # A suite is skipped when all its cases are.
  string(APPEND content "add_test([=[${suite}]=] \"${PROGRAM}\" \"--gtest_filter=${suite}.*\")\n"
         "set_tests_properties([=[${suite}]=] PROPERTIES TIMEOUT 900\n"
         "  SKIP_REGULAR_EXPRESSION \"\\\\[  PASSED  \\\\] 0 tests\")\n")
endforeach()
file(WRITE "${OUTPUT}" "${content}")
