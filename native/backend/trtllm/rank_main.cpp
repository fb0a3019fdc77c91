#include "backend/trtllm/rank_main.h"

#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "backend/trtllm/mpi_world.h"
#include "backend/trtllm/rank_watch.h"
#include "backend/trtllm/trtllm_executor.h"
#include "base/error.h"
#include "worker/launcher.h"
#include "worker/messages.h"
#include "worker/rendezvous.h"
#include "worker/worker_session.h"

namespace kraken::trtllm {
namespace {

namespace tle = tensorrt_llm::executor;

void settle() {
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a killed mpirun leaves nobody behind
#endif
}

[[noreturn]] void fatal(MpiWorld& world, const std::string& code, const std::string& message) {
  std::fputs(fatal_line(world.rank(), code, message).c_str(), stderr);
  std::fflush(stderr);
  world.abort();
}

// Rank 0's options, on all ranks. Empty: there will be no engine.
std::string share(MpiWorld& world, const std::string& bytes) {
  return world.broadcast(bytes);
}

// One rank's word on whether it can take part: empty, or "CODE message".
std::string objection(const MpiWorld& world, const ExecutorOptions& options, EngineConfig& engine) {
  try {
    engine = read_engine_config(options.directory);
    check_version(tle::version(), engine.version);
    if (engine.ranks != world.size()) {
      throw Error("ERR_RANKS", "the engine is for " + std::to_string(engine.ranks) + " ranks, and " +
                                   std::to_string(world.size()) +
                                   " were started: if this is mpirun's doing, it is of another MPI than the "
                                   "one TensorRT-LLM uses");
    }
    return "";
  } catch (const Error& error) {
    return error.code() + " " + error.what();
  }
}

// Throws, on every rank, when any of them objects or has another engine or build.
EngineConfig agree(MpiWorld& world, const ExecutorOptions& options) {
  EngineConfig engine;
  const std::string objected = objection(world, options, engine);
  const auto objections = world.gather(objected);
  const auto builds = world.gather(build_id());
  const auto configs = world.gather(engine.text);
  std::string verdict;
  for (size_t rank = 0; rank < objections.size() && verdict.empty(); ++rank) {
    const std::string who = " (rank " + std::to_string(rank) + ")";
    if (builds[rank] != builds[0]) {
      verdict = "ERR_NATIVE_LOAD the ranks' kraken-workers are of different builds" + who;
    } else if (!objections[rank].empty()) {
      verdict = objections[rank] + (rank == 0 ? "" : who);
    } else if (configs[rank] != configs[0]) {
      verdict = "ERR_ENGINE_CORRUPT the machines have different engines at " + options.directory + who;
    }
  }
  verdict = world.broadcast(verdict);
  if (!verdict.empty()) {
    const size_t space = verdict.find(' ');
    throw Error(verdict.substr(0, space), verdict.substr(space + 1));
  }
  return engine;
}

std::string to_bytes(const ExecutorOptions& options) {
  const auto frame = Frame(MessageType::Load, options).take();
  return {frame.begin() + kFrameHeaderBytes, frame.end()};
}

void lead(MpiWorld& world) {
  const char* name = std::getenv(kRendezvous);
  Descriptor socket = connect_to(name != nullptr ? name : "");
  bool shared = false, serving = false;
  {
    const ExecutorLoader load = [&](const ExecutorOptions& options, ResponseSink sink,
                                    const std::atomic<bool>*,
                                    QueueObserver observer) -> std::unique_ptr<Executor> {
      share(world, to_bytes(options));
      shared = true;
      EngineConfig engine = agree(world, options);
      auto ours = std::make_unique<RankEngine>(options, engine, world);
      serving = true;
      return std::make_unique<TrtLlmExecutor>(std::move(ours), std::move(engine), options, std::move(sink),
                                              std::move(observer));
    };
    RankWatch watch(world, [&](int rank) {
      fatal(world, "ERR_RANK_LOST",
            "rank " + std::to_string(rank) + " has given no sign of life for " +
                std::to_string(RankWatch::kPatience.count()) + " ms: it hangs or was stopped");
    });
    const auto build = [](const PlanOptions&, const PlanProgress&) -> std::string {
      throw Error("ERR_INTERNAL", "plans are built by kraken-worker");
    };
    WorkerSession(std::move(socket), load, build).run();
  }
  if (!shared) {
    share(world, "");
  } else if (!serving) {
    world.abort();  // the others may be in TensorRT-LLM's constructor, waiting for this rank
  }
}

void follow(MpiWorld& world) {
  RankWatch watch(world, [](int) {});
  const std::string bytes = share(world, "");
  if (bytes.empty()) return;
  ExecutorOptions options;
  Reader reader({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  read_all(reader, options);
  EngineConfig engine;
  try {
    engine = agree(world, options);
  } catch (const Error&) {
    return;  // rank 0 says so
  }
  RankEngine ours(options, engine, world);
  ours.executor->shutdown();  // returns when rank 0's has been called
}

}  // namespace

int rank_main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::printf("%s, TensorRT-LLM %s\n", worker_version().c_str(), tle::version());
    return 0;
  }
  if (argc != 2 || std::string(argv[1]) != "--rank") {
    std::fprintf(stderr, "kraken-worker-trtllm is started by kraken-engine; by hand it has only --version\n");
    return 1;
  }
  settle();
  MpiWorld world(&argc, &argv);
  try {
    world.rank() == 0 ? lead(world) : follow(world);
    return 0;
  } catch (const Error& error) {
    fatal(world, error.code(), error.what());
  } catch (const std::exception& error) {
    fatal(world, "ERR_INTERNAL", error.what());
  }
}

}  // namespace kraken::trtllm
