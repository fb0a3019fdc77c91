// What a rank other than the first does under mpirun: as rank 0 tells it, for any number of engines at a
// time.
#pragma once

#include "comm/framed/framed_communicator.h"
#include "comm/mpi/mpi_world.h"

namespace kraken {

// Returns when rank 0 has left. Throws ERR_RANK_LOST.
void follow_rank_zero(const MpiWorld& world, FramedCommunicator& control);

}  // namespace kraken
