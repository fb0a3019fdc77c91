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
#define KRAKEN_PLUGINS_INTERFACE 1

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
  void* context;
  const char* algorithms;       /* text of an algorithm table (kernels/algorithm.h); null: the built-in one */
  uint64_t timeout_nanoseconds; /* how long a collective waits for a peer; 0: 10 s */
  /* For tests: what must hold back a moment before each exchange is sent, and before it is waited for. */
  int32_t stall_side_microseconds, stall_main_microseconds;
} kraken_communicator_options;

/* On the device that is current; the thread may then use another. */
kraken_communicator* kraken_communicator_create(const kraken_communicator_options* options);
/* When no work of any rank is in flight, and no execution context that was bound to it is left. Null:
 * nothing. */
void kraken_communicator_destroy(kraken_communicator* communicator);
/* 0 while all is well; else kraken_plugins_last_error() says what was lost. Ask after a step has been waited
 * for. */
int32_t kraken_communicator_status(const kraken_communicator* communicator);
/* "peer memory", "peer memory and NCCL 2.32" … */
const char* kraken_communicator_transport(const kraken_communicator* communicator);

/* Plugins of an execution context belong to the communicator that is bound to the thread which creates it:
 *
 *   kraken_communicator_bind(communicator);
 *   context = engine->createExecutionContext(…);
 *   plugins = kraken_communicator_unbind();
 *
 * unbind returns how many plugins were attached in between: as many as the engine has, or it was built
 * elsewhere than on this thread and would silently compute without its peers. */
void kraken_communicator_bind(kraken_communicator* communicator);
int32_t kraken_communicator_unbind(void);

#ifdef __cplusplus
}
#endif
#endif
