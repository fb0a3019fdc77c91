# The GPU half: CUDA kernels and one plugin library per TensorRT major, from the same sources. Built where a CUDA
# compiler and TensorRT's headers are found (find-gpu.cmake); elsewhere everything builds without, and `kraken doctor`
# repeats KRAKEN_GPU_MISSING. TensorRT, NCCL and the driver are opened at run time, never linked, so what is built here
# loads on a machine that has none of them.
option(KRAKEN_GPU "Build the TensorRT plugins where a CUDA compiler and TensorRT's headers are found" ON)
set(KRAKEN_TOOLCHAIN "${CMAKE_CURRENT_SOURCE_DIR}/.toolchain" CACHE PATH "Where `npm run toolchain:gpu` installs")
set(KRAKEN_CUDA_ARCHITECTURES "80-real;90-real;100-real" CACHE STRING "GPU architectures to compile kernels for")
mark_as_advanced(KRAKEN_TOOLCHAIN)

set(KRAKEN_GPU_BUILT "")
set(KRAKEN_GPU_MISSING "")
set(kraken_tensorrt_majors "")

if(NOT KRAKEN_GPU)
  set(KRAKEN_GPU_MISSING "KRAKEN_GPU is off")
else()
  include(cmake/find-gpu.cmake)
  foreach(major 10 11)
    if(KRAKEN_TENSORRT_${major})
      list(APPEND kraken_tensorrt_majors ${major})
      list(APPEND kraken_tensorrt_versions ${KRAKEN_TENSORRT_${major}_VERSION})
    endif()
  endforeach()
  if(NOT KRAKEN_NVCC AND NOT kraken_tensorrt_majors)
    set(KRAKEN_GPU_MISSING "no CUDA compiler and no TensorRT headers")
  elseif(NOT KRAKEN_NVCC)
    set(KRAKEN_GPU_MISSING "no CUDA compiler (${kraken_min_cuda} or newer)")
  elseif(NOT kraken_tensorrt_majors)
    set(KRAKEN_GPU_MISSING "no TensorRT headers (10 or 11)")
  endif()
endif()

if(KRAKEN_GPU_MISSING)
  message(STATUS "GPU plugins: not built, ${KRAKEN_GPU_MISSING}")
  add_custom_target(kraken_gpu COMMAND ${CMAKE_COMMAND} -E echo
    "No GPU code can be built: ${KRAKEN_GPU_MISSING}. `npm run toolchain:gpu` brings what is missing."
    COMMAND ${CMAKE_COMMAND} -E false VERBATIM)
else()
  set(CMAKE_CUDA_COMPILER "${KRAKEN_NVCC}" CACHE FILEPATH "The CUDA compiler" FORCE)
  set(CMAKE_CUDA_ARCHITECTURES "${KRAKEN_CUDA_ARCHITECTURES}")
  enable_language(CUDA)
  string(REPLACE ";" " and " kraken_tensorrt_versions "${kraken_tensorrt_versions}")
  set(KRAKEN_GPU_BUILT "CUDA ${KRAKEN_NVCC_VERSION}, TensorRT ${kraken_tensorrt_versions}")
  message(STATUS "GPU plugins: ${KRAKEN_GPU_BUILT}")
endif()

# --- kernels and plugins --------------------------------------------------------------------------------------------
if(KRAKEN_GPU_BUILT)
  file(GLOB kraken_kernel_sources CONFIGURE_DEPENDS plugins/kernels/*.cu plugins/kernels/*.cpp)
  file(GLOB kraken_plugin_sources CONFIGURE_DEPENDS plugins/*.cpp plugins/*/*.cpp)
  list(FILTER kraken_plugin_sources EXCLUDE REGEX "/plugins/kernels/")
  string(REGEX REPLACE "-[a-z]+" "" kraken_architectures "${CMAKE_CUDA_ARCHITECTURES}")
  string(REPLACE ";" " " kraken_architectures "${kraken_architectures}")
  file(READ ${CMAKE_CURRENT_SOURCE_DIR}/package.json kraken_package)
  string(JSON kraken_plugins_version GET "${kraken_package}" version)

  # Compiled once; the plugins of both majors link them.
  add_library(kraken_kernels STATIC ${kraken_kernel_sources})
  target_include_directories(kraken_kernels PUBLIC plugins)
  target_include_directories(kraken_kernels SYSTEM PUBLIC ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  set_target_properties(kraken_kernels PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden)
  target_compile_options(kraken_kernels PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic>)
  if(KRAKEN_WERROR)
    target_compile_options(kraken_kernels PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror>
      $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()

  foreach(major ${kraken_tensorrt_majors})
    set(target kraken_plugins_trt${major})
    add_library(${target} SHARED ${kraken_plugin_sources})
    # As system headers: they deprecate a lot, and the crates' folder has nothing but them.
    target_include_directories(${target} SYSTEM PRIVATE ${KRAKEN_TENSORRT_${major}})
    target_compile_definitions(${target} PRIVATE KRAKEN_VERSION="${kraken_plugins_version}"
      KRAKEN_ARCHITECTURES="${kraken_architectures}")
    target_link_libraries(${target} PRIVATE kraken_kernels kraken_options ${CMAKE_DL_LIBS})
    # An undefined symbol would only show where the library is opened.
    target_link_options(${target} PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static)
  endforeach()

  # --- libkraken_tensorrt: what needs TensorRT's headers of the backend, once for each major; opened at run time -------
  set(kraken_tensorrt_sources native/base/dtype.cpp) # the lowering
  foreach(name kraken_interface layers lowering network plugin_layers weight_store)
    list(APPEND kraken_tensorrt_sources native/backend/tensorrt/${name}.cpp)
  endforeach()
  foreach(name gpt_attention pad_heads trtllm_interface)
    list(APPEND kraken_tensorrt_sources native/backend/trtllm/network/${name}.cpp)
  endforeach()
  set(kraken_device_sources native/backend/trtllm/network/trtllm_parts.cpp) # devices, engines, builder
  foreach(name cuda_device open_tensorrt plan_builder trt_engine)
    list(APPEND kraken_device_sources native/backend/tensorrt/${name}.cpp)
  endforeach()
  list(TRANSFORM kraken_tensorrt_sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  list(TRANSFORM kraken_device_sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  foreach(major ${kraken_tensorrt_majors})
    set(target kraken_tensorrt_trt${major})
    add_library(${target} SHARED ${kraken_tensorrt_sources} ${kraken_device_sources})
    target_include_directories(${target} PRIVATE native plugins)
    target_include_directories(${target} SYSTEM PRIVATE
      ${KRAKEN_TENSORRT_${major}} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
    # Without CUDA sources of its own, CMake adds no CUDA runtime.
    target_link_directories(${target} PRIVATE ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
    target_link_libraries(${target} PRIVATE kraken_options cudart_static rt Threads::Threads ${CMAKE_DL_LIBS})
    # The headers deprecate what older libraries of the same major lack a successor for.
    target_compile_options(${target} PRIVATE -Wno-deprecated-declarations)
    target_link_options(${target} PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static)
    list(APPEND kraken_gpu_libraries kraken_plugins_trt${major} ${target})
  endforeach()
  # What `npm run build:gpu` builds: the addon needs none of it, and looks for it beside itself.
  add_custom_target(kraken_gpu DEPENDS ${kraken_gpu_libraries})
endif()
