# Project-wide compile settings and the two functions every folder uses:
#   tetrad_library(<name> [HOT] [NUMERIC_TESTS] MAY_INCLUDE <folders...> LIBRARIES <external targets...>)
#   tetrad_test(<name> [NUMERIC] SOURCES ... LIBRARIES ...)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(TETRAD_CCACHE ccache)
if(TETRAD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${TETRAD_CCACHE}")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 CONFIG REQUIRED COMPONENTS json)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(tl-expected REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS SSL)
if(TETRAD_BUILD_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()

add_library(tetrad_options INTERFACE)
target_compile_options(tetrad_options INTERFACE
  -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror
  # Results must not depend on whether the compiler may fuse a multiply and an add:
  # kernels that want an FMA ask for it.
  -ffp-contract=off)
# GCC 12 warns falsely: of overlapping copies inside std::string's operator+ (bug 105651), and of
# uninitialised values inside its own AVX-512 intrinsics (bug 105593).
target_compile_options(tetrad_options INTERFACE
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-uninitialized;-Wno-maybe-uninitialized>"
  # libstdc++ 12 uses its own deprecated std::get_temporary_buffer in std::stable_sort.
  "$<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>")
target_include_directories(tetrad_options INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_definitions(tetrad_options INTERFACE TETRAD_VERSION="${PROJECT_VERSION}")
if(TETRAD_SANITIZE)
  add_compile_options(-fsanitize=${TETRAD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TETRAD_SANITIZE})
  add_compile_definitions(TETRAD_SANITIZED)
  # GCC takes a third of its time for these, and half of the program. A null pointer is found by the address sanitizer,
  # too; alignment is looked at in the folders that read packed data, and everything by the fuzz targets, with clang.
  if(TETRAD_SANITIZE MATCHES "undefined" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fno-sanitize=null,alignment,object-size,vptr)
  endif()
  # A program of hundreds of megabytes that may lie anywhere takes as long to start as the whole rest.
  if(TETRAD_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_link_options("$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-no-pie>")
  endif()
endif()

# One static library for the folder it is called in, made of every .cpp below it that is not a test.
# Its *_test.cpp files become one GoogleTest program beside it.
#   HOT            it computes: optimised more, with sanitizers, too
#   NUMERIC_TESTS  its tests do: see tetrad_test
function(tetrad_library name)
  cmake_parse_arguments(ARG "HOT;NUMERIC_TESTS" "" "MAY_INCLUDE;LIBRARIES;TEST_LIBRARIES" ${ARGN})
  file(GLOB_RECURSE all_files CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp"
       "${CMAKE_CURRENT_SOURCE_DIR}/*.h")
  set(sources ${all_files})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  add_library(tetrad_${name} STATIC ${sources})
  # With sanitizers an optimised build takes four times as long to compile as one at -O0; the folders
  # that compute are worth it, the others are not.
  if(ARG_HOT AND TETRAD_SANITIZE)
    target_compile_options(tetrad_${name} PRIVATE -O1)
    if(TETRAD_SANITIZE MATCHES "undefined")
      target_compile_options(tetrad_${name} PRIVATE -fsanitize=alignment)
    endif()
  elseif(NOT ARG_HOT)
    target_compile_options(tetrad_${name} PRIVATE $<$<CONFIG:Release>:-O2>)
  endif()
  list(TRANSFORM ARG_MAY_INCLUDE PREPEND tetrad_ OUTPUT_VARIABLE folder_targets)
  target_link_libraries(tetrad_${name} PUBLIC tetrad_options ${folder_targets} ${ARG_LIBRARIES})

  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/includes_checked")
  add_custom_command(OUTPUT "${stamp}"
    COMMAND "${CMAKE_COMMAND}" "-DFOLDER=${name}" "-DROOT=${CMAKE_SOURCE_DIR}"
            "-DMAY_INCLUDE=${ARG_MAY_INCLUDE}" -P "${CMAKE_SOURCE_DIR}/cmake/check_includes.cmake"
    COMMAND "${CMAKE_COMMAND}" -E touch "${stamp}"
    DEPENDS ${all_files} "${CMAKE_SOURCE_DIR}/cmake/check_includes.cmake"
    COMMENT "Checking the include table for src/${name}" VERBATIM)
  add_custom_target(tetrad_${name}_includes DEPENDS "${stamp}")
  add_dependencies(tetrad_${name} tetrad_${name}_includes)

  if(TETRAD_BUILD_TESTS)
    set(tests ${all_files})
    list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
    if(tests)
      set(numeric "")
      if(ARG_NUMERIC_TESTS)
        set(numeric NUMERIC)
      endif()
      tetrad_test(${name}_test ${numeric} SOURCES ${tests} LIBRARIES tetrad_${name} ${ARG_TEST_LIBRARIES})
    endif()
  endif()
endfunction()

# A GoogleTest program. TETRAD_SOURCE_DIR lets a test find models/ and tests/golden/.
#   NUMERIC  most of its time goes to what it expects: of sanitizers it has only those of the libraries, which is
#            what is tested
function(tetrad_test name)
  cmake_parse_arguments(ARG "NUMERIC" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE TETRAD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  # Not with ThreadSanitizer, which must see what the threads of a test do.
  if(ARG_NUMERIC AND TETRAD_SANITIZE MATCHES "address")
    target_compile_options(${name} PRIVATE -O1 -fno-sanitize=all)
  endif()
  # One CTest test a suite, as the program itself lists them.
  set(suites "${CMAKE_CURRENT_BINARY_DIR}/${name}_suites.cmake")
  add_custom_command(TARGET ${name} POST_BUILD BYPRODUCTS "${suites}"
    COMMAND "${CMAKE_COMMAND}" "-DPROGRAM=$<TARGET_FILE:${name}>" "-DOUTPUT=${suites}"
            -P "${CMAKE_SOURCE_DIR}/cmake/discover_suites.cmake" VERBATIM)
  # Before it is built there is none.
  set(include "${CMAKE_CURRENT_BINARY_DIR}/${name}_tests.cmake")
  file(WRITE "${include}" "if(EXISTS \"${suites}\")\n  include(\"${suites}\")\nelse()\n"
       "  add_test(${name}_NOT_BUILT ${name}_NOT_BUILT)\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include}")
endfunction()
