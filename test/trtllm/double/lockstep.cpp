#include "lockstep.h"

#include <chrono>
#include <stdexcept>
#include <thread>

namespace tensorrt_llm::executor {

Lockstep::Lockstep() {
  int initialized = 0, provided = 0;
  MPI_Initialized(&initialized);
  if (!initialized)
    throw std::runtime_error("the double wants MPI initialised before it, with several threads");
  MPI_Query_thread(&provided);
  if (provided < MPI_THREAD_MULTIPLE) throw std::runtime_error("MPI_THREAD_MULTIPLE is needed");
  MPI_Comm_dup(MPI_COMM_WORLD, &communicator_);
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size_);
}

Lockstep::~Lockstep() {
  MPI_Comm_free(&communicator_);
}

void Lockstep::wait(MPI_Request& request) {
  for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done;) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void Lockstep::meet() {
  exchange();
}

void Lockstep::lead(uint64_t iteration) {
  MPI_Request request;
  MPI_Ibcast(&iteration, 1, MPI_UINT64_T, 0, communicator_, &request);
  wait(request);
}

uint64_t Lockstep::follow() {
  uint64_t iteration = 0;
  MPI_Request request;
  MPI_Ibcast(&iteration, 1, MPI_UINT64_T, 0, communicator_, &request);
  wait(request);
  return iteration;
}

void Lockstep::exchange() {
  MPI_Request request;
  MPI_Ibarrier(communicator_, &request);
  wait(request);
}

}  // namespace tensorrt_llm::executor
