// kraken-worker as a function: an executor outside Node. The addon starts it with one end of a socket, which
// is all it listens to: it ends when the other end closes, however that came about.
#pragma once

#include "worker/worker_session.h"

namespace kraken {

// With --launch and a command, the ranks are what that command starts, with --attach and a name they are
// whose rank 0 listens under that name (launcher.h). Exit codes: 0, the other side closed; 1, it is not
// started as it should be; 2, the conversation failed.
int worker_main(int argc, char** argv, const ExecutorLoader& load, const PlanBuilder& build = build_plans);

}  // namespace kraken
