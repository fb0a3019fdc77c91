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
