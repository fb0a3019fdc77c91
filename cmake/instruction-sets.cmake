# How the CPU backend's translation units are compiled. Most go through Highway's own dispatch; those named
# *_avx512_bf16.cpp or *_avx512_vnni.cpp are intrinsics for one instruction set, chosen at run time.
#
# -ffp-contract=off: a row's result must not depend on how many rows are computed beside it, so the compiler must not
# fuse a multiplication and an addition in one loop and leave them apart in its twin. Kernels fuse explicitly.
file(GLOB kraken_cpu_sources native/backend/cpu/*.cpp)
# runtime/vector_math.cpp is compiled for several widths, whose sums must be the same.
set_property(SOURCE ${kraken_cpu_sources} native/runtime/vector_math.cpp APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  file(GLOB kraken_avx512_bf16 native/backend/cpu/*_avx512_bf16.cpp)
  set_property(SOURCE ${kraken_avx512_bf16} APPEND PROPERTY COMPILE_OPTIONS
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -mavx2)
  file(GLOB kraken_avx512_vnni native/backend/cpu/*_avx512_vnni.cpp)
  set_property(SOURCE ${kraken_avx512_vnni} APPEND PROPERTY COMPILE_OPTIONS
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mavx2)
endif()
