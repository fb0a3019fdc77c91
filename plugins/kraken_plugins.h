/* The C interface of libkraken_plugins_trt10.so and _trt11.so, for whoever builds and runs engines with them.
 * It needs no CUDA and no TensorRT header. TensorRT itself finds the plugins through getCreators() and
 * setLoggerFinder(), either by IPluginRegistry::loadLibrary or by registering what getCreators() returns.
 *
 * Before anything else compare kraken_plugins_tensorrt_version() / 10000 with that of TensorRT's
 * getInferLibVersion(): where the majors differ, TensorRT calls through tables of another layout, and a crash
 * is the best that happens.
 *
 * A function that fails returns null or a negative number; kraken_plugins_last_error() then says why. */
#ifndef KRAKEN_PLUGINS_H
#define KRAKEN_PLUGINS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KRAKEN_PLUGINS_NAMESPACE "kraken"
/* Of this interface; kraken_plugins_interface() must return the same. */
#define KRAKEN_PLUGINS_INTERFACE 3

int32_t kraken_plugins_interface(void);
const char* kraken_plugins_version(void);       /* of the package: "0.1.0" */
int32_t kraken_plugins_tensorrt_version(void);  /* of the headers, as getInferLibVersion(): 101600 */
const char* kraken_plugins_architectures(void); /* GPUs it has code for: "80 90 100" */
const char* kraken_plugins_last_error(void);    /* of this thread; "" if there was none */

/* Registers the plugins in a registry that somebody else's program uses: what TensorRT's getPluginRegistry()
 * returns, of the major this library is for. For callers without TensorRT's headers. Number of plugins. */
int32_t kraken_plugins_register(void* plugin_registry);

/* --- communicators: one per rank, made by all ranks of a group together
 * --------------------------------------------- */

typedef struct kraken_communicator kraken_communicator;

enum kraken_transport {
  KRAKEN_TRANSPORT_AUTO = 0, /* peer memory where every rank reaches every other, NCCL for what is left */
  KRAKEN_TRANSPORT_PEER = 1, /* peer memory alone */
  KRAKEN_TRANSPORT_NCCL = 2  /* NCCL alone */
};

typedef struct kraken_communicator_options {
  int32_t struct_size; /* sizeof(kraken_communicator_options): how much of it the caller knows */
  int32_t rank, ranks;
  int32_t transport;
  int64_t capacity; /* bytes of the largest exchange: the largest T, times d, times the size of an element */
  /* Sends `bytes` bytes of each rank to all, in the order of ranks; 0 when done. All ranks call it, and none
   * returns before all have come. Called a few times while the communicator is made, and never again. */
  int32_t (*all_gather)(void* context, const void* mine, void* all, int64_t bytes);
  /* Asked now and then while the communicator is made; other than 0: a rank is lost, and there is no use in
   * waiting for it. From the thread that makes it. May be null. */
  int32_t (*is_lost)(void* context);
  void* context;
  const char* algorithms;       /* text of an algorithm table (kernels/algorithm.h); null: the built-in one */
  uint64_t timeout_nanoseconds; /* how long a collective waits for a peer; 0: 10 s */
  /* For tests: what must hold back a moment before each exchange is sent, and before it is waited for. */
  int32_t stall_side_microseconds, stall_main_microseconds;
  int32_t is_timed; /* whether kraken_communicator_times() is wanted: some microseconds for each exchange */
} kraken_communicator_options;

/* On the device that is current; the thread may then use another. */
kraken_communicator* kraken_communicator_create(const kraken_communicator_options* options);
/* When no work of any rank is in flight, and neither an execution context that was bound to it is left nor a
 * CUDA graph that captured one: NCCL waits for the latter, of all ranks of the process. Null: nothing. */
void kraken_communicator_destroy(kraken_communicator* communicator);
/* 0 while all is well; else kraken_plugins_last_error() says what was lost. Ask after a step has been waited
 * for. */
int32_t kraken_communicator_status(const kraken_communicator* communicator);
/* From any thread, when a rank is known to be lost (its process has ended, say): collectives that wait for it
 * on the device end at once instead of when their time is up, and NCCL's, which would wait for ever, end at
 * all. The outputs are undefined from then on, and kraken_communicator_status() names the rank. */
void kraken_communicator_abort(kraken_communicator* communicator, int32_t lost_rank);
/* Since the communicator was made, in nanoseconds of the device's clock; all zero when it is not timed. Of a
 * sum that the join's own kernel adds up, it is not known when the parts arrived: what that kernel waits is
 * both exposed and collective. Ask after a step has been waited for. */
typedef struct kraken_exchange_times {
  uint64_t exposed;    /* the device's main stream waited */
  uint64_t collective; /* from the starts of exchanges to their arrivals */
  uint64_t hidden;     /* of these, while the main stream did something else */
  uint64_t exchanges;
} kraken_exchange_times;
void kraken_communicator_times(const kraken_communicator* communicator, kraken_exchange_times* times);
/* "peer memory", "multicast peer memory", "peer memory and NCCL 2.32" … */
const char* kraken_communicator_transport(const kraken_communicator* communicator);

/* --- key/value caches: one per rank, of all its layers
 * --------------------------------------------- */

typedef struct kraken_kv_cache kraken_kv_cache;

enum kraken_element { KRAKEN_FLOAT32 = 0, KRAKEN_FLOAT16 = 1, KRAKEN_BFLOAT16 = 2 };

typedef struct kraken_kv_cache_options {
  int32_t struct_size; /* sizeof(kraken_kv_cache_options) */
  int32_t element;     /* of the attention's tensors, an enum kraken_element */
  int32_t layers;
  int32_t heads; /* key/value heads of this rank: its ways times those of a way */
  int32_t head_dim;
  int32_t block_tokens; /* a power of two up to 4096 */
  int32_t blocks;       /* block tables hold numbers below it */
} kraken_kv_cache_options;

/* Bytes of device memory that such a cache takes: a block's times `blocks`. Negative: bad options. */
int64_t kraken_kv_cache_bytes(const kraken_kv_cache_options* options);
/* On the device that is current. Needs no clearing between uses. */
kraken_kv_cache* kraken_kv_cache_create(const kraken_kv_cache_options* options);
/* When no work that reads it is in flight, and no execution context that was bound to it is left. Null:
 * nothing. */
void kraken_kv_cache_destroy(kraken_kv_cache* cache);

/* --- shortlists: what leaves the device in place of logits
 * --------------------------------------------- */

typedef struct kraken_shortlist_request {
  int32_t count;      /* candidates, at most the capacity; 0: nothing is wanted of this row */
  int32_t needs_mass; /* whether kraken_shortlist.mass is wanted */
  float scale;        /* of weights: exp((logit - max) * scale), max over all ranks' columns */
} kraken_shortlist_request;

typedef struct kraken_candidate {
  float logit;
  int32_t column; /* of this rank */
} kraken_candidate;

/* Followed by as many candidates as there is capacity for. */
typedef struct kraken_shortlist {
  uint64_t mass;    /* sum of this rank's weights in units of 2^-40 of the likeliest, each rounded to even */
  int32_t count;    /* candidates: the largest, the lowest columns among equals */
  uint8_t is_whole; /* no other column is larger than -inf */
  uint8_t has_numbers; /* 0: there is a NaN or +inf; then nothing else is told */
  uint8_t unused[2];
} kraken_shortlist;

/* Everything in memory of the device. */
typedef struct kraken_shortlists {
  int32_t struct_size; /* sizeof(kraken_shortlists) */
  int32_t rows, columns, capacity;
  int32_t needs_mass;                       /* whether any row does; the same on all ranks */
  const float* logits;                      /* [rows, columns] */
  const kraken_shortlist_request* requests; /* [rows] */
  float* maxima;                            /* [ranks, rows], to work in; null where no row needs its mass */
  void* out; /* [rows], each a kraken_shortlist with its candidates; of rows with count 0 untouched */
} kraken_shortlists;

/* Enqueues it on a stream (a cudaStream_t) of the communicator's device. Where a row needs its mass, all
 * ranks call it, with the same rows. 0 when done. */
int32_t kraken_shortlists_enqueue(kraken_communicator* communicator, const kraken_shortlists* shortlists,
                                  void* stream);

/* --- binding: what the plugins of an execution context work with
 * ------------------------------------------------ */

/* Plugins of an execution context belong to what is bound to the thread which creates it:
 *
 *   kraken_bind(&binding);
 *   context = engine->createExecutionContext(…);
 *   plugins = kraken_unbind();
 *
 * unbind returns how many plugins were attached in between, whatever their kind: at least as many as the
 * engine has layers of them (TensorRT may attach one for each optimization profile), or it was built
 * elsewhere than on this thread and would silently compute without its peers and its past. */
typedef struct kraken_binding {
  kraken_communicator* communicator; /* null: plugins exchange nothing */
  kraken_kv_cache* kv_cache;         /* null: attention is over the step's own tokens */
} kraken_binding;

/* Copies what it is given. Null, or nothing in it: nothing is bound, and nothing counted. */
void kraken_bind(const kraken_binding* binding);
int32_t kraken_unbind(void);

#ifdef __cplusplus
}
#endif
#endif
