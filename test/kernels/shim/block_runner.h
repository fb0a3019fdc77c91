// Runs the blocks of a kernel on the host: a launch runs in the thread that makes it, its blocks one after
// another, the threads of a block as fibers that take turns at every point where CUDA lets threads meet.
// Ranks are threads of the test, so what ranks share is really shared.
//
// Under ThreadSanitizer every fiber is a thread of its own, and only __syncthreads orders two fibers of a
// block (a warp's shuffle does not, nor does taking turns): a kernel that forgets a barrier is a reported
// race.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct dim3 {
  unsigned int x = 1, y = 1, z = 1;
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace kraken::shim {

// Of the fiber that calls. By value: its home is not instrumented.
dim3 thread_index();
dim3 block_index();
dim3 block_extent();
dim3 grid_extent();

// dynamic_bytes: of dynamic shared memory, which begins as NaNs and is exactly as large, so that
// AddressSanitizer sees the first byte beyond it.
void run_grid(dim3 grid, dim3 block, size_t dynamic_bytes, const std::function<void()>& kernel);
void* dynamic_memory();

// Copies that go on by themselves: nothing arrives before its thread waits for it.
void copy_later(void* to, const void* from, size_t bytes);  // from null: zeros
void commit_copies();
void wait_for_copies(size_t groups_left);

// All fibers of the block; true where the argument of all of them was.
bool meet_block(bool all_of);
// The 32 fibers of a warp: each gives a value and gets that of a lane of its warp.
uint64_t meet_warp(uint64_t value, unsigned int source_lane);
// The same, and gets those of all lanes.
void meet_warp(uint64_t value, uint64_t (&all)[32]);
// Lets the other fibers and, now and then, the other threads go on.
void pause();

}  // namespace kraken::shim
