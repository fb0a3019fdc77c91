#include "comm/mpi/mpi_world.h"

#include <unistd.h>

#include <cstdlib>

#ifdef __linux__
#include <sched.h>
#endif

#include "base/error.h"

namespace kraken {
namespace {

struct Place {
  char name[MPI_MAX_PROCESSOR_NAME];
  int first_core;
};

// Of those that this process may run on.
int first_core() {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) return core;
    }
  }
#endif
  return 0;
}

}  // namespace

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw Error("ERR_RANK_LOST", std::string(call) + ": " + std::string(text, static_cast<size_t>(length)));
}

MpiWorld::MpiWorld(int* argc, char*** argv) {
  // Of Open MPI over TCP: a payload is sent right away. Its other way, to be asked for and then put there,
  // needs both sides' attention several times, and they compute.
  setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
  int provided = 0;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
    throw Error("ERR_HOSTS", "MPI could not be initialised: is this process started by mpirun or srun?");
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    MPI_Finalize();
    throw Error(
        "ERR_HOSTS",
        "this MPI cannot serve several threads (MPI_THREAD_MULTIPLE): use Open MPI 4 or 5, or MPICH 4");
  }
  // Messages of our own, and errors that are told instead of ending the process.
  MPI_Comm_dup(MPI_COMM_WORLD, &communicator_);
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  int size = 0, length = 0;
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size);
  Place own{};
  MPI_Get_processor_name(own.name, &length);
  own.first_core = first_core();
  std::vector<Place> places(static_cast<size_t>(size));
  check_mpi(MPI_Allgather(&own, sizeof own, MPI_BYTE, places.data(), sizeof own, MPI_BYTE, communicator_),
            "MPI_Allgather");
  for (const Place& place : places) {
    hosts_.emplace_back(place.name);
    places_.push_back(hosts_.back() + " from core " + std::to_string(place.first_core));
  }
}

MpiWorld::~MpiWorld() {
  MPI_Comm_free(&communicator_);
  MPI_Finalize();
}

void MpiWorld::leave_at_once(int code) {
  _exit(code);
}

}  // namespace kraken
