# Installed packages first: oneDNN (2.6 or 3.x), Highway, nlohmann-json, OpenMP. `kraken_dependencies` carries them all
# as system headers; `kraken_options` our own warnings and sanitizers.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(nlohmann_json 3.9 REQUIRED)

# Not by oneDNN's own CMake package: where it was built with an OpenCL runtime that file insists on OpenCL's headers,
# which nothing here uses (and Debian's package does not bring).
find_path(KRAKEN_DNNL_INCLUDE dnnl.hpp)
find_library(KRAKEN_DNNL_LIBRARY dnnl)
if(NOT KRAKEN_DNNL_INCLUDE OR NOT KRAKEN_DNNL_LIBRARY)
  message(FATAL_ERROR "oneDNN was not found: install libdnnl-dev (Debian, Ubuntu), onednn-devel (Fedora) or onednn (Homebrew), or run `npm run setup`")
endif()
add_library(kraken_dnnl INTERFACE)
target_include_directories(kraken_dnnl SYSTEM INTERFACE ${KRAKEN_DNNL_INCLUDE})
target_link_libraries(kraken_dnnl INTERFACE ${KRAKEN_DNNL_LIBRARY})

find_package(hwy CONFIG QUIET)
if(TARGET hwy::hwy)
  set(kraken_hwy hwy::hwy)
elseif(TARGET hwy)
  set(kraken_hwy hwy)
else()
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(HWY QUIET IMPORTED_TARGET libhwy)
  endif()
  if(NOT TARGET PkgConfig::HWY)
    find_path(KRAKEN_HWY_INCLUDE hwy/highway.h)
    find_library(KRAKEN_HWY_LIBRARY hwy)
    if(NOT KRAKEN_HWY_INCLUDE OR NOT KRAKEN_HWY_LIBRARY)
      message(FATAL_ERROR "Highway was not found: install libhwy-dev (Debian, Ubuntu), highway-devel (Fedora) or highway (Homebrew), or run `npm run setup`")
    endif()
    add_library(kraken_hwy_found INTERFACE)
    target_include_directories(kraken_hwy_found SYSTEM INTERFACE ${KRAKEN_HWY_INCLUDE})
    target_link_libraries(kraken_hwy_found INTERFACE ${KRAKEN_HWY_LIBRARY})
    set(kraken_hwy kraken_hwy_found)
  else()
    set(kraken_hwy PkgConfig::HWY)
  endif()
endif()

add_library(kraken_dependencies INTERFACE)
target_link_libraries(kraken_dependencies INTERFACE
  Threads::Threads OpenMP::OpenMP_CXX nlohmann_json::nlohmann_json kraken_dnnl ${kraken_hwy})

add_library(kraken_options INTERFACE)
target_compile_options(kraken_options INTERFACE -Wall -Wextra -Wpedantic
  -fmacro-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}/=) # messages name files from the repository's root
if(KRAKEN_WERROR)
  target_compile_options(kraken_options INTERFACE -Werror)
endif()
if(KRAKEN_SANITIZE)
  target_compile_options(kraken_options INTERFACE -fsanitize=${KRAKEN_SANITIZE} -fno-omit-frame-pointer -g1)
  target_link_options(kraken_options INTERFACE -fsanitize=${KRAKEN_SANITIZE})
endif()
