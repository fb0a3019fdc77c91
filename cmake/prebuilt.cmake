# The addon and the worker as prebuilt binaries (tools/prebuilt): the same objects, linked so that they run without the
# packages of the machine that built them. libstdc++ goes in, because it is as new as the compiler; libgcc_s stays out,
# because Node needs it anyway and its archive wants a newer glibc. libgomp's thread-local variables cannot be linked into
# an addon: it lies beside it.
set(KRAKEN_PREBUILT_HIGHWAY "" CACHE PATH "Highway as a static library; prebuilt binaries can be made when it is given")
set(KRAKEN_PREBUILT_ONEDNN "" CACHE PATH "oneDNN as a static library; without it prebuilt binaries leave AMX unused")
mark_as_advanced(KRAKEN_PREBUILT_HIGHWAY KRAKEN_PREBUILT_ONEDNN)
if(NOT KRAKEN_PREBUILT_HIGHWAY)
  return()
endif()

# Highway's headers, which all objects were compiled with, must be those of the library.
file(STRINGS ${KRAKEN_PREBUILT_HIGHWAY}/include/hwy/base.h kraken_hwy_wanted REGEX "define HWY_(MAJOR|MINOR|PATCH)")
find_path(KRAKEN_HWY_COMPILED_WITH hwy/base.h)
file(STRINGS ${KRAKEN_HWY_COMPILED_WITH}/hwy/base.h kraken_hwy_found REGEX "define HWY_(MAJOR|MINOR|PATCH)")
if(NOT kraken_hwy_found STREQUAL kraken_hwy_wanted)
  message(FATAL_ERROR "prebuilt binaries need the Highway they are linked with (${kraken_hwy_wanted}), not ${kraken_hwy_found}: make them on Debian 12")
endif()

if(KRAKEN_PREBUILT_ONEDNN)
  add_library(kraken_prebuilt_products OBJECT native/backend/cpu/linear_onednn.cpp)
  target_include_directories(kraken_prebuilt_products SYSTEM BEFORE PRIVATE ${KRAKEN_PREBUILT_ONEDNN}/include)
  set(kraken_prebuilt_libraries ${KRAKEN_PREBUILT_ONEDNN}/lib/libdnnl.a)
else()
  add_library(kraken_prebuilt_products OBJECT native/backend/cpu/no_onednn.cpp)
  set(kraken_prebuilt_libraries "")
endif()
target_include_directories(kraken_prebuilt_products PRIVATE native)
target_link_libraries(kraken_prebuilt_products PRIVATE kraken_options OpenMP::OpenMP_CXX)
list(APPEND kraken_prebuilt_libraries ${KRAKEN_PREBUILT_HIGHWAY}/lib/libhwy.a OpenMP::OpenMP_CXX Threads::Threads
  ${CMAKE_DL_LIBS})

add_library(kraken_prebuilt MODULE $<TARGET_OBJECTS:kraken>)
set_target_properties(kraken_prebuilt PROPERTIES PREFIX "" OUTPUT_NAME kraken SUFFIX ".node")
add_executable(kraken_prebuilt_worker $<TARGET_OBJECTS:kraken-worker>)
set_target_properties(kraken_prebuilt_worker PROPERTIES OUTPUT_NAME kraken-worker)
foreach(target kraken_prebuilt kraken_prebuilt_worker)
  target_sources(${target} PRIVATE $<FILTER:$<TARGET_OBJECTS:kraken_core>,EXCLUDE,/linear_onednn\\.>
    $<TARGET_OBJECTS:kraken_prebuilt_products>)
  target_link_libraries(${target} PRIVATE ${kraken_prebuilt_libraries})
  target_link_options(${target} PRIVATE -static-libstdc++ -shared-libgcc -Wl,--exclude-libs,ALL -Wl,--gc-sections)
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON LINKER_LANGUAGE CXX BUILD_RPATH_USE_ORIGIN ON
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/prebuilt
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/prebuilt)
endforeach()
