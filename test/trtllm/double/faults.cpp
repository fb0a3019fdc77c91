#include "faults.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace tensorrt_llm::executor {
namespace {

void sleep_ms(const std::string& ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(ms)));
}

// What follows "name@", if the word begins so.
bool argument(const std::string& word, const std::string& name, std::string& rest) {
  if (word.rfind(name + "@", 0) != 0) return false;
  rest = word.substr(name.size() + 1);
  return true;
}

}  // namespace

Faults::Faults(int rank) : rank_(rank) {
  const char* text = std::getenv("KRAKEN_DOUBLE_FAULT");
  std::istringstream stream(text != nullptr ? text : "");
  for (std::string word; std::getline(stream, word, ',');) words_.push_back(word);
}

bool Faults::answers_with_error(uint64_t request) const {
  std::string rest;
  for (const std::string& word : words_) {
    if (argument(word, "error", rest) && std::stoull(rest) == request) return true;
  }
  return false;
}

void Faults::in_constructor() const {
  std::string rest;
  chatter("the constructor");
  for (const std::string& word : words_) {
    if (argument(word, "slow-start", rest)) sleep_ms(rest);
    if (argument(word, "throw", rest) && std::stoi(rest) == rank_) {
      throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: the double was told to throw");
    }
  }
  at("start");
}

void Faults::while_idle() const {
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  at("idle");
}

bool Faults::has_idle() const {
  for (const std::string& word : words_) {
    if (word.ends_with(":idle")) return true;
  }
  return false;
}

void Faults::in_iteration(uint64_t iteration) const {
  std::string rest;
  chatter("an iteration");
  for (const std::string& word : words_) {
    if (argument(word, "slow", rest)) sleep_ms(rest);
  }
  at(std::to_string(iteration));
}

void Faults::at(const std::string& when) const {
  const std::string here = std::to_string(rank_) + ":" + when;
  for (const std::string& word : words_) {
    if (word == "exit@" + here) _exit(3);
    if (word == "stop@" + here) raise(SIGSTOP);
    if (word == "abort@" + here) {
      std::fprintf(stderr,
                   "NCCL WARN Call to ibv_poll_cq failed: a peer has gone (the double was told to say so)\n");
      std::abort();
    }
    while (word == "hang@" + here) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

void Faults::chatter(const char* where) const {
  for (const std::string& word : words_) {
    if (word != "chatter") continue;
    std::printf("[TensorRT-LLM][INFO] rank %d in %s\n\x01\x02 not a frame \xff\n", rank_, where);
    std::fflush(stdout);
  }
}

}  // namespace tensorrt_llm::executor
