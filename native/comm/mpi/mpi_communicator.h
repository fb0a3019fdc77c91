// A Communicator over MPI's point-to-point messages. MPI cannot wake who sleeps, and a thread that polls
// takes a core from the compute. So the communication thread sleeps between looks: briefly while a compute
// thread waits, and its core is free; a tenth of a millisecond at most while an exchange is hidden behind
// compute; and while nothing is under way for a sixteenth of the time since something was, which is as much
// as is lost.
#pragma once

#include <string>
#include <vector>

#include "comm/framed/framed_communicator.h"
#include "comm/mpi/mpi_connection.h"

namespace kraken {

// names[r] is rank r's host. Channels of communicators that live at the same time, or after one that was
// lost, have different tags; all ranks of one make it before any of them waits.
std::unique_ptr<FramedCommunicator> make_mpi_communicator(int rank, const std::vector<std::string>& names,
                                                          const MpiChannel& channel,
                                                          const FramedGroupOptions& options);

}  // namespace kraken
