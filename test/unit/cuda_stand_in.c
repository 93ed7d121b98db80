/* Stands in for NVIDIA's driver library where there is none: "device" memory is the host's. The functions are declared
   as in cuda.h. It is stricter than a GPU where that finds mistakes: a download only happens when the stream is waited
   for, and without a current context nothing works. */
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201 };

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef void *CUcontext;
typedef struct Stream *CUstream;
struct Stream {
  struct {
    void *to;
    const void *from;
    size_t size;
  } downloads[16];
  int waiting;
};

/* What a test may set and read. */
int stand_in_devices = 1;
int stand_in_live = 0; /* allocations and streams that were not given back */
char stand_in_name[64] = "Orin (nvgpu)";

static char contexts[2];
static __thread CUcontext current;

int stand_in_is_current(void) { return current != NULL; }

CUresult cuInit(unsigned int flags) { return flags ? INVALID_VALUE : stand_in_devices ? SUCCESS : NO_DEVICE; }

CUresult cuGetErrorName(CUresult error, const char **name) {
  *name = error == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : NULL;
  return *name ? SUCCESS : INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = error == OUT_OF_MEMORY ? "out of memory" : NULL;
  return *text ? SUCCESS : INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count) {
  *count = stand_in_devices;
  return SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  *device = ordinal;
  return ordinal < stand_in_devices ? SUCCESS : INVALID_DEVICE;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  strncpy(name, stand_in_name, length);
  return device < stand_in_devices ? SUCCESS : INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1;
  return device < stand_in_devices ? SUCCESS : INVALID_DEVICE;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  *context = &contexts[device];
  return device < stand_in_devices ? SUCCESS : INVALID_DEVICE;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  current = context;
  return SUCCESS;
}

CUresult cuMemHostAlloc(void **address, size_t size, unsigned int flags) {
  if (!current) return INVALID_CONTEXT;
  if (size == 0 || flags != 0) return INVALID_VALUE;
  if (size > (size_t)1 << 40) return OUT_OF_MEMORY;
  *address = malloc(size);
  memset(*address, 0xff, size);
  stand_in_live++;
  return SUCCESS;
}

CUresult cuMemFreeHost(void *address) {
  if (!current) return INVALID_CONTEXT;
  free(address);
  stand_in_live--;
  return SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) { return cuMemHostAlloc((void **)address, size, 0); }

CUresult cuMemFree_v2(CUdeviceptr address) { return cuMemFreeHost((void *)address); }

CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  if (!current) return INVALID_CONTEXT;
  if (flags != 1) return INVALID_VALUE;
  *stream = calloc(1, sizeof(struct Stream));
  stand_in_live++;
  return SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
  if (!current) return INVALID_CONTEXT;
  if (!stream) return INVALID_VALUE;
  memcpy((void *)to, from, size);
  return SUCCESS;
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream) {
  if (!current) return INVALID_CONTEXT;
  if (!stream || stream->waiting == 16) return INVALID_VALUE;
  stream->downloads[stream->waiting].to = to;
  stream->downloads[stream->waiting].from = (const void *)from;
  stream->downloads[stream->waiting++].size = size;
  return SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
  if (!current) return INVALID_CONTEXT;
  for (int i = 0; i < stream->waiting; i++)
    memcpy(stream->downloads[i].to, stream->downloads[i].from, stream->downloads[i].size);
  stream->waiting = 0;
  return SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
  if (!current) return INVALID_CONTEXT;
  free(stream);
  stand_in_live--;
  return SUCCESS;
}
