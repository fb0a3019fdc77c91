#include "shortlists/shortlists.h"

#include <cstddef>
#include <string>

#include "common/error.h"
#include "kernels/shortlist.h"

namespace kraken::plugins {
namespace {

using kernels::Candidate;
using kernels::ShortlistHead;
using kernels::ShortlistRequest;

// The C interface speaks of the kernels' own structures.
static_assert(sizeof(kraken_shortlist_request) == sizeof(ShortlistRequest));
static_assert(offsetof(kraken_shortlist_request, scale) == offsetof(ShortlistRequest, scale));
static_assert(sizeof(kraken_candidate) == sizeof(Candidate));
static_assert(sizeof(kraken_shortlist) == sizeof(ShortlistHead));
static_assert(offsetof(kraken_shortlist, count) == offsetof(ShortlistHead, count));
static_assert(offsetof(kraken_shortlist, has_numbers) == offsetof(ShortlistHead, has_numbers));

}  // namespace

void enqueue_shortlists(DeviceCommunicator& communicator, int32_t rank, int32_t ranks,
                        const kraken_shortlists& wanted, cudaStream_t stream) {
  if (wanted.struct_size != static_cast<int32_t>(sizeof wanted)) {
    throw PluginError("struct_size must be " + std::to_string(sizeof wanted) + ", got " +
                      std::to_string(wanted.struct_size));
  }
  if (wanted.needs_mass != 0) {
    check_cuda(
        kernels::row_maxima(wanted.logits, wanted.rows, wanted.columns, rank, ranks, wanted.maxima, stream),
        "the largest logits");
    if (ranks > 1) {
      communicator.all_reduce(kernels::DType::Float32, int64_t{ranks} * wanted.rows, wanted.maxima,
                              wanted.maxima, stream);
    }
  }
  check_cuda(kernels::shortlist(wanted.logits, wanted.rows, wanted.columns,
                                reinterpret_cast<const ShortlistRequest*>(wanted.requests),
                                wanted.needs_mass != 0 ? wanted.maxima : nullptr, ranks, wanted.capacity,
                                wanted.out, stream),
             "the shortlists");
}

}  // namespace kraken::plugins
