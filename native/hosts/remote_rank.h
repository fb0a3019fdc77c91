// A rank on another host than rank 0's: kraken-worker --rank N --connect HOST:PORT. It lives exactly as long
// as its connection to rank 0.
#pragma once

#include <cstdint>
#include <string>

namespace kraken {

struct RemoteRankOptions {
  int rank = 0;
  std::string host;  // of rank 0
  uint16_t port = 0;
  std::string secret;
  bool has_input =
      false;  // the secret came by standard input, which rank 0 then holds open as long as it lives
};

// Returns when rank 0 leaves. Throws what ended the rank before; rank 0 has been told.
void run_remote_rank(const RemoteRankOptions& options);

// The secret is the first line of standard input, else KRAKEN_SECRET. Exit codes as worker_main()'s.
int remote_rank_main(int argc, char** argv);

}  // namespace kraken
