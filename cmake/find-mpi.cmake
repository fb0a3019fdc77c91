# kraken_find_mpi(): find_package(MPI COMPONENTS C) that doesn't fail where there is half an MPI: to FindMPI a compiler
# wrapper without headers (Debian's openmpi-bin alone) is an error. Sets MPI_C_FOUND and MPI::MPI_C.
macro(kraken_find_mpi)
  enable_language(C)
  find_program(KRAKEN_MPICC mpicc)
  set(kraken_mpicc_status 0)
  if(KRAKEN_MPICC)
    execute_process(COMMAND ${KRAKEN_MPICC} -include mpi.h -x c -E /dev/null
      RESULT_VARIABLE kraken_mpicc_status OUTPUT_QUIET ERROR_QUIET)
  endif()
  set(MPI_C_FOUND FALSE)
  if(kraken_mpicc_status EQUAL 0)
    find_package(MPI COMPONENTS C QUIET)
  endif()
endmacro()
