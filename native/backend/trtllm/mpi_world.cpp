#include "backend/trtllm/mpi_world.h"

#include <unistd.h>

#include <thread>

#include "base/error.h"

namespace kraken::trtllm {
namespace {

constexpr std::chrono::milliseconds kLook{1};

}  // namespace

MpiWorld::MpiWorld(int* argc, char*** argv) {
  int provided = 0;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_MULTIPLE) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                "this MPI cannot serve several threads (MPI_THREAD_MULTIPLE), "
                "which TensorRT-LLM needs: install Open MPI 4 or 5");
  }
  MPI_Comm_dup(MPI_COMM_WORLD, &communicator_);
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size_);
}

MpiWorld::~MpiWorld() {
  MPI_Comm_free(&communicator_);
  MPI_Finalize();
}

void MpiWorld::wait(MPI_Request& request) {
  for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done;) {
    std::this_thread::sleep_for(kLook);
  }
}

std::string MpiWorld::broadcast(const std::string& text) {
  std::string result = text;
  uint64_t size = result.size();
  MPI_Request request;
  MPI_Ibcast(&size, 1, MPI_UINT64_T, 0, communicator_, &request);
  wait(request);
  result.resize(size);
  MPI_Ibcast(result.data(), static_cast<int>(size), MPI_CHAR, 0, communicator_, &request);
  wait(request);
  return result;
}

std::vector<std::string> MpiWorld::gather(const std::string& text) {
  const int mine = static_cast<int>(text.size());
  std::vector<int> sizes(static_cast<size_t>(size_)), offsets(sizes.size());
  MPI_Request request;
  MPI_Igather(&mine, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, communicator_, &request);
  wait(request);
  int total = 0;
  for (size_t i = 0; rank_ == 0 && i < sizes.size(); ++i) {
    offsets[i] = total;
    total += sizes[i];
  }
  std::string all(static_cast<size_t>(total), '\0');
  MPI_Igatherv(text.data(), mine, MPI_CHAR, all.data(), sizes.data(), offsets.data(), MPI_CHAR, 0,
               communicator_, &request);
  wait(request);
  std::vector<std::string> texts;
  for (size_t i = 0; rank_ == 0 && i < sizes.size(); ++i) {
    texts.push_back(all.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(sizes[i])));
  }
  return texts;
}

void MpiWorld::all_gather(const void* mine, void* all, size_t bytes) {
  MPI_Request request;
  const int count = static_cast<int>(bytes);
  MPI_Iallgather(mine, count, MPI_CHAR, all, count, MPI_CHAR, communicator_, &request);
  wait(request);
}

void MpiWorld::abort() {
  MPI_Abort(MPI_COMM_WORLD, 2);
  _exit(2);
}

}  // namespace kraken::trtllm
