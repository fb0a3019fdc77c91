# Translation units that are compiled for one instruction set and chosen at run time (the rest goes through Highway's
# own dispatch).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  file(GLOB kraken_avx512_bf16 native/backend/cpu/*_avx512_bf16.cpp)
  set_source_files_properties(${kraken_avx512_bf16} PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512bf16;-mfma;-mavx2")
endif()
