# fake_library(<test> <source> <name> <file> [<macro>...]): a library by the name that the real one has on users' machines.
# The test knows where it is by the macro of its name in capitals.
function(fake_library test source name file)
  add_library(${name} SHARED ${source})
  set_target_properties(${name} PROPERTIES PREFIX "" OUTPUT_NAME "${file}" SUFFIX ""
    LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/${name}" NO_SONAME ON)
  target_link_options(${name} PRIVATE "-Wl,-soname,${file}")
  target_compile_definitions(${name} PRIVATE ${ARGN})
  add_dependencies(${test} ${name})
  string(TOUPPER ${name} macro)
  target_compile_definitions(${test} PRIVATE ${macro}="$<TARGET_FILE:${name}>")
endfunction()
