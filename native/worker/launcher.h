// Ranks that another program starts, as mpirun does: it cannot pass on a socket, so kraken-worker stands in
// between. It starts the program, waits for rank 0 to connect, and passes whole frames in both directions; to
// the addon it looks like any worker. It owns the program: whatever ends first takes the rest along.
#pragma once

#include <string>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

// Returns when the other side of `socket` or the program has ended. What the program prints goes to stderr;
// when it ends by itself, its last lines, or the coded error that one of its ranks printed (fatal_line),
// become the Failed that the other side is told. Exit code 0: the other side closed.
int launch_ranks(Descriptor socket, const std::vector<std::string>& command);

// The same for ranks that run already, and of which the first waits on a rendezvous of that name. Returns
// when either side has ended.
int attach_to_ranks(Descriptor socket, const std::string& name);

// What a rank that cannot go on prints last: the launcher finds code and message in it.
std::string fatal_line(int rank, const std::string& code, const std::string& message);

}  // namespace kraken
