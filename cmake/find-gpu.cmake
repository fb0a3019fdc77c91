# Where the CUDA compiler and TensorRT's headers are: what the environment names, then what is installed, then
# KRAKEN_TOOLCHAIN. Nothing is cached, so what was installed since the last configure is found. Included by gpu.cmake;
# as a script (cmake -P) it prints what it finds, for tools/gpu-toolchain.
#
# Sets KRAKEN_NVCC and its _VERSION, and for each TensorRT major M: KRAKEN_TENSORRT_M (a folder of headers) and its _VERSION.
set(KRAKEN_NVCC "")
set(kraken_min_cuda 12.8) # the first that knows sm_100

# pip's nvidia packages of the active virtual environment, or of the Python on the path.
set(kraken_pip_roots "")
if(DEFINED ENV{VIRTUAL_ENV})
  file(GLOB kraken_pip_roots LIST_DIRECTORIES true "$ENV{VIRTUAL_ENV}/lib/python3*/site-packages")
endif()

# --- nvcc -----------------------------------------------------------------------------------------------------------
set(kraken_nvccs "$ENV{CUDACXX}")
foreach(root "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" /usr/local/cuda)
  list(APPEND kraken_nvccs "${root}/bin/nvcc")
endforeach()
string(REPLACE ":" ";" kraken_path "$ENV{PATH}")
foreach(folder ${kraken_path})
  list(APPEND kraken_nvccs "${folder}/nvcc")
endforeach()
foreach(root ${kraken_pip_roots} "${KRAKEN_TOOLCHAIN}/cuda")
  file(GLOB kraken_pip_nvccs "${root}/nvidia/cu[0-9]*/bin/nvcc")
  list(APPEND kraken_nvccs ${kraken_pip_nvccs})
endforeach()
foreach(nvcc ${kraken_nvccs})
  if(NOT KRAKEN_NVCC AND IS_ABSOLUTE "${nvcc}" AND EXISTS "${nvcc}" AND NOT IS_DIRECTORY "${nvcc}")
    execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE kraken_nvcc_says ERROR_QUIET)
    if(kraken_nvcc_says MATCHES "release ([0-9]+\\.[0-9]+), V([0-9.]+)")
      if(CMAKE_MATCH_1 VERSION_LESS kraken_min_cuda)
        message(STATUS "${nvcc} is CUDA ${CMAKE_MATCH_1}, ${kraken_min_cuda} or newer is needed")
      else()
        set(KRAKEN_NVCC "${nvcc}")
        set(KRAKEN_NVCC_VERSION "${CMAKE_MATCH_2}")
      endif()
    endif()
  endif()
endforeach()

# --- TensorRT's headers ---------------------------------------------------------------------------------------------
set(kraken_header_folders "$ENV{TENSORRT_ROOT}/include" "$ENV{TRT_ROOT}/include" /usr/include/x86_64-linux-gnu
  /usr/include/aarch64-linux-gnu /usr/include /usr/local/include /usr/local/tensorrt/include /opt/tensorrt/include)
file(GLOB kraken_unpacked /usr/local/TensorRT-*/include /opt/TensorRT-*/include)
list(APPEND kraken_header_folders ${kraken_unpacked})
foreach(major 10 11)
  set(KRAKEN_TENSORRT_${major} "")
  foreach(folder ${kraken_header_folders} "${KRAKEN_TOOLCHAIN}/tensorrt-${major}/include")
    if(NOT KRAKEN_TENSORRT_${major} AND EXISTS "${folder}/NvInferVersion.h" AND EXISTS "${folder}/NvInfer.h")
      # Of 10.16: #define TRT_MAJOR_ENTERPRISE 10, #define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE; before: the number itself.
      file(STRINGS "${folder}/NvInferVersion.h" kraken_lines REGEX "define (TRT|NV_TENSORRT)_(MAJOR|MINOR)")
      string(REGEX MATCH "MAJOR[A-Z_]* ([0-9]+)" kraken_ignored "${kraken_lines}")
      set(kraken_major "${CMAKE_MATCH_1}")
      string(REGEX MATCH "MINOR[A-Z_]* ([0-9]+)" kraken_ignored "${kraken_lines}")
      if(kraken_major EQUAL major)
        set(KRAKEN_TENSORRT_${major} "${folder}")
        set(KRAKEN_TENSORRT_${major}_VERSION "${kraken_major}.${CMAKE_MATCH_1}")
      endif()
    endif()
  endforeach()
endforeach()

# TensorRT for RTX, for tests: it compiles networks to plans on a machine without a GPU.
set(KRAKEN_TENSORRT_RTX "")
if(EXISTS "${KRAKEN_TOOLCHAIN}/tensorrt-rtx/include/NvInfer.h")
  set(KRAKEN_TENSORRT_RTX "${KRAKEN_TOOLCHAIN}/tensorrt-rtx/include")
endif()

if(CMAKE_SCRIPT_MODE_FILE)
  foreach(name KRAKEN_NVCC KRAKEN_TENSORRT_10 KRAKEN_TENSORRT_11)
    if(${name})
      message(STATUS "${name}_VERSION=${${name}_VERSION}")
    endif()
  endforeach()
endif()
