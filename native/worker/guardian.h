// A process between a launcher and its program that ends the program once the launcher has ended, however
// that came about: a launcher that is killed can do nothing, and to tell the program once may not be enough
// (an mpirun of Open MPI 4.1 that gets SIGTERM while it ends its ranks may wait for a lock for ever).
#pragma once

#include <sys/types.h>

#include "base/descriptor.h"

namespace kraken {

struct Guarded {
  pid_t guardian = -1;  // −1: errno says why there is none
  Descriptor lifeline;  // the launcher holds it for as long as the program may run
};

// Runs a program, both output streams to `output`, nothing to read. The guardian ends as it does (127: it
// could not be run, which `output` tells), passes SIGTERM on to it, and leads a process group of the two.
// When the lifeline ends, the program has a second to end by itself; then it gets SIGTERM, and then the group
// is killed.
Guarded start_guarded(char** arguments, char** environment, int output);

}  // namespace kraken
