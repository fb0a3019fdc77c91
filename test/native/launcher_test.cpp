// Ranks that another program starts: what the addon hears when it ends, and that nothing of it stays.
#include "worker/launcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "worker/channel.h"
#include "worker/rendezvous.h"

namespace kraken::test {
namespace {

using namespace std::chrono_literals;

// A launcher on a thread of its own, as kraken-worker's main thread is, and the other side of its socket.
class Launched {
 public:
  explicit Launched(const std::string& script) : Launched(script, make_socket_pair()) {}
  ~Launched() {
    node.close();
    thread_.join();
  }

  // The next frame that comes.
  std::pair<MessageType, std::vector<uint8_t>> next() {
    std::pair<MessageType, std::vector<uint8_t>> got{};
    bool there = false;
    while (!there && node.pump(10s, [&](MessageType type, Reader& message) {
      if (there) return;
      const auto bytes = message.rest();
      got = {type, {bytes.begin(), bytes.end()}};
      there = true;
    })) {
    }
    EXPECT_TRUE(there);
    return got;
  }
  Failure failure() {
    const auto [type, bytes] = next();
    EXPECT_EQ(type, MessageType::Failed);
    Failure failure;
    Reader reader(bytes);
    read_all(reader, failure);
    return failure;
  }

  Channel node;

 private:
  Launched(const std::string& script, std::pair<Descriptor, Descriptor> sockets)
      : node(std::move(sockets.first)) {
    thread_ = std::thread([socket = std::move(sockets.second), script]() mutable {
      launch_ranks(std::move(socket), {"sh", "-c", script});
    });
  }
  std::thread thread_;
};

// What a script has written to a file that it names, once it is a whole line.
std::string line_of(const std::filesystem::path& file) {
  for (int i = 0; i < 1000; ++i) {
    std::ifstream stream(file);
    std::string line;
    if (std::getline(stream, line) && !stream.eof()) return line;
    std::this_thread::sleep_for(10ms);
  }
  return "";
}

std::filesystem::path fresh(const std::string& name) {
  const auto path = std::filesystem::path(testing::TempDir()) / (name + std::to_string(getpid()));
  std::filesystem::remove(path);
  return path;
}

bool gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

TEST(Launcher, TellsHowTheProgramEndedAndWhatItSaid) {
  Launched launched("echo '---------------'; echo there are no slots >&2; exit 7");
  const Failure failure = launched.failure();
  EXPECT_EQ(failure.code, "ERR_NATIVE_LOAD");
  EXPECT_EQ(failure.message, "sh ended with exit code 7; it said: there are no slots");
}

TEST(Launcher, FindsTheCodedErrorOfARank) {
  std::string line = fatal_line(2, "ERR_ENGINE_CORRUPT", "rank2.engine\nis not whole");
  line.pop_back();
  Launched launched("echo noise; echo '" + line + "'; echo more noise; exit 1");
  const Failure failure = launched.failure();
  EXPECT_EQ(failure.code, "ERR_ENGINE_CORRUPT");
  EXPECT_EQ(failure.message, "rank 2: rank2.engine is not whole");
}

TEST(Launcher, TellsOfAProgramThatIsNotThere) {
  Launched launched("exec /nowhere/mpirun");
  EXPECT_EQ(launched.failure().code, "ERR_NATIVE_LOAD");
}

TEST(Launcher, EndsTheProgramWithTheOtherSide) {
  const auto file = fresh("launched");
  pid_t pid = 0;
  {
    Launched launched("echo $$ > " + file.string() + "; exec sleep 60");
    pid = std::stoi("0" + line_of(file));
  }
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(gone(pid));
}

#ifdef __linux__
// mpirun may not hear SIGTERM.
TEST(Launcher, AProgramThatDoesNotListenOutlivesNobodyWhoIsKilled) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent becomes this process's child
  const auto file = fresh("deaf");
  const std::string script = "trap '' TERM; echo $$ > " + file.string() + "; while :; do sleep 0.1; done";
  const pid_t launcher = fork();
  if (launcher == 0) {
    auto [node, worker] = make_socket_pair();
    launch_ranks(std::move(worker), {"sh", "-c", script});
    _exit(0);
  }
  const pid_t program = std::stoi("0" + line_of(file));
  ASSERT_GT(program, 0);
  kill(launcher, SIGKILL);
  waitpid(launcher, nullptr, 0);
  const auto from = std::chrono::steady_clock::now();
  int status = 0;
  while (waitpid(program, &status, WNOHANG) != program && std::chrono::steady_clock::now() - from < 20s) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_LT(std::chrono::steady_clock::now() - from, 10s);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
  while (waitpid(-1, nullptr, 0) > 0) {  // the guardian
  }
}
#endif

TEST(Launcher, PassesFramesOnBothWaysAndSaysWhenTheRankIsLost) {
  const auto file = fresh("meeting");
  Launched launched("echo $" + std::string(kRendezvous) + " > " + file.string() + "; exec sleep 60");
  Channel rank(connect_to(line_of(file)));
  rank.post({MessageType::Hello, Hello{.build = "a test"}});
  const auto [type, bytes] = launched.next();
  EXPECT_EQ(type, MessageType::Hello);
  Hello hello;
  Reader reader(bytes);
  read_all(reader, hello);
  EXPECT_EQ(hello.build, "a test");

  launched.node.post({MessageType::Cancel, RequestId{42}});
  RequestId id = 0;
  while (id == 0 && rank.pump(10s, [&](MessageType, Reader& message) { read_all(message, id); })) {
  }
  EXPECT_EQ(id, 42u);

  rank.close();
  EXPECT_EQ(launched.failure().code, "ERR_RANK_LOST");
}

TEST(Launcher, NobodyWaitsUnderAWrongName) {
  EXPECT_THROW(connect_to("kraken-0"), Error);
  EXPECT_THROW(connect_to(""), Error);
}

}  // namespace
}  // namespace kraken::test
