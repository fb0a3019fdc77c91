// Work that runs on threads of its own and must end before what it uses does. It is ended by whatever comes
// first:
//   - the environment's cleanup hook: a worker thread that ends or is terminated, the end of the script;
//   - the 'exit' event of `process`: process.exit() and uncaught exceptions run no cleanup hooks;
//   - std::atexit: work of worker threads that are still alive when the main thread leaves.
#pragma once

#include <memory>

#include "addon/js.h"

namespace kraken::addon {

class Background {
 public:
  virtual ~Background() = default;
  // Calls into JavaScript no more from the moment this is entered, and returns when all threads have ended.
  // Idempotent, callable from any thread. How long it takes is bounded by one step, one chunk written or one
  // tensor loaded.
  virtual void terminate() = 0;
};

// Ends `work` with its environment unless untracked before. Call after creating the thread-safe functions
// that the work uses: cleanup hooks run in reverse order, so the work ends before they do.
void track(Napi::Env env, std::shared_ptr<Background> work);
void untrack(Napi::Env env, const Background* work);

// Subscribes to the 'exit' event of this environment's `process`.
void terminate_on_exit(Napi::Env env);

}  // namespace kraken::addon
