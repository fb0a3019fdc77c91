# kraken-worker-mpi, the ranks that mpirun or srun start. An executable of its own, built where an MPI with its headers is
# found: the addon and kraken-worker do without, and a prebuilt binary could not know whose MPI it will meet.
option(KRAKEN_MPI "Build kraken-worker-mpi where MPI is found" ON)
set(kraken_mpi_found FALSE)
if(KRAKEN_MPI AND NOT CMAKE_CROSSCOMPILING AND NOT KRAKEN_SANITIZE)
  include(cmake/find-mpi.cmake)
  kraken_find_mpi()
  set(kraken_mpi_found ${MPI_C_FOUND})
endif()
if(NOT kraken_mpi_found)
  message(STATUS "kraken-worker-mpi: not built, no MPI (Debian: openmpi-bin and libopenmpi-dev)")
  return()
endif()

file(GLOB kraken_comm_mpi_sources CONFIGURE_DEPENDS native/comm/mpi/*.cpp)
add_library(kraken_comm_mpi STATIC ${kraken_comm_mpi_sources})
target_compile_definitions(kraken_comm_mpi PUBLIC OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX) # C's interface alone
target_link_libraries(kraken_comm_mpi PUBLIC kraken_core MPI::MPI_C)

file(GLOB kraken_hosts_mpi_sources CONFIGURE_DEPENDS native/hosts/mpi/*.cpp)
add_executable(kraken-worker-mpi ${kraken_hosts_mpi_sources})
target_link_libraries(kraken-worker-mpi PRIVATE kraken_comm_mpi)
if(CMAKE_LIBRARY_OUTPUT_DIRECTORY)
  set_target_properties(kraken-worker-mpi PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
endif()
