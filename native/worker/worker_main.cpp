#include "worker/worker_main.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "worker/launcher.h"
#include "worker/worker_process.h"

namespace kraken {
namespace {

bool is_socket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

void settle() {
  // Ctrl-C goes to the whole process group; what becomes of the worker is for the parent to decide.
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
#ifdef __linux__
  // The socket's end says the same, but a stopped worker could not read it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#ifdef SYS_close_range
  // What a library of the parent opened without close-on-exec must not stay open here.
  syscall(SYS_close_range, static_cast<unsigned>(kWorkerSocket + 1), ~0u, 0u);
#endif
#endif
}

}  // namespace

int worker_main(int argc, char** argv, const ExecutorLoader& load, const PlanBuilder& build) {
  const std::string argument = argc > 1 ? argv[1] : "";
  if (argument == "--version") {
    std::printf("%s\n", worker_version().c_str());
    return 0;
  }
  const std::string mode = argc > 4 ? argv[3] : "";
  const bool launches = mode == "--launch", attaches = mode == "--attach" && argc == 5;
  if ((argc != 3 && !launches && !attaches) || argument != "--socket" ||
      std::to_string(kWorkerSocket) != argv[2] || !is_socket(kWorkerSocket)) {
    std::fprintf(stderr, "kraken-worker is started by kraken-engine; by hand it has only --version\n");
    return 1;
  }
  settle();
  try {
    if (attaches) return attach_to_ranks(Descriptor(kWorkerSocket), argv[4]);
    if (launches) return launch_ranks(Descriptor(kWorkerSocket), {argv + 4, argv + argc});
    WorkerSession(Descriptor(kWorkerSocket), load, build).run();
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "kraken-worker: %s: %s\n", error.code().c_str(), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-worker: %s\n", error.what());
  }
  return 2;
}

}  // namespace kraken
