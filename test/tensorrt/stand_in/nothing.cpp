// An empty library. As libcuda.so.1 it is a driver as far as anybody looks who only asks whether there is
// one; as libnccl.so.2 it stands in the way of a real NCCL, which stand-ins for GPUs must not meet.
