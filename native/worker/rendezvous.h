// Where a rank that somebody else starts (mpirun) finds who waits for it: a socket with a name that cannot be
// guessed, outside the file system, so that nothing is left behind. Linux only; elsewhere ERR_NATIVE_LOAD.
#pragma once

#include <chrono>
#include <string>

#include "base/descriptor.h"

namespace kraken {

// The environment variable that carries the name.
constexpr char kRendezvous[] = "KRAKEN_RENDEZVOUS";

class Rendezvous {
 public:
  Rendezvous();  // listens
  const std::string& name() const { return name_; }
  int get() const { return listener_.get(); }
  // Whoever came, if it is of the same user; otherwise an empty descriptor.
  Descriptor accept() const;

 private:
  std::string name_;
  Descriptor listener_;
};

// Throws ERR_NATIVE_LOAD when nobody waits there.
Descriptor connect_to(const std::string& name);

}  // namespace kraken
