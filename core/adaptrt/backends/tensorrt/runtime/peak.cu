// What a GPU computes at most: kernels that do nothing but multiply and add, in registers and shared memory. Compiled by NVRTC.
// Each one is launched with THREADS threads a block, and repeats its products `rounds` times. `out` receives the operations of
// one block, two for each multiply-add, and the results, which the compiler would otherwise leave out.
typedef unsigned int word;
typedef long long int64;

const int THREADS = 128, WARPS = THREADS / 32;

// Small numbers in every type, different in every thread and register: a GPU takes less power for zeros, and is faster then.
static __device__ __forceinline__ word small(int index) {
    word mixed = (threadIdx.x * 67 + index + 1) * 2654435761u;
    return ((mixed ^ mixed >> 15) & 0x83ff83ffu) | 0x2c002c00u;
}

static __device__ __forceinline__ void finish(int64* out, const word* sums, int count, int64 operations) {
    word mixed = 0;
    for (int i = 0; i < count; ++i) mixed ^= sums[i];
    if (mixed == 0x9e3779b9u) out[1] = mixed;
    if (blockIdx.x == 0 && threadIdx.x == 0) out[0] = operations;
}

// Products of single numbers.
const int CHAINS = 16;

extern "C" __global__ void __launch_bounds__(THREADS) fp32(int64* out, int rounds) {
    word sums[CHAINS];
    for (int i = 0; i < CHAINS; ++i) sums[i] = small(i);
    word a = small(CHAINS), b = small(CHAINS + 1);
    for (int round = 0; round < rounds; ++round)
#pragma unroll
        for (int repeat = 0; repeat < 4; ++repeat)
#pragma unroll
            for (int i = 0; i < CHAINS; ++i)
                asm volatile("{.reg .f32 x, a, b; mov.b32 x, %0; mov.b32 a, %1; mov.b32 b, %2; fma.rn.f32 x, x, a, b; mov.b32 %0, x;}"
                             : "+r"(sums[i]) : "r"(a), "r"(b));
    finish(out, sums, CHAINS, 2ll * THREADS * rounds * 4 * CHAINS);
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Hopper: a product of 64 x K by K x 256, both in shared memory, by four warps. Rows of 8 x 16 bytes are contiguous there; K is
// 32 bytes in every type.
const int A_BYTES = 64 * 32, B_BYTES = 256 * 32, PRODUCTS = 8;

static __device__ __forceinline__ int64 described(const void* matrix) {
    int64 address = (int64)__cvta_generic_to_shared(matrix);
    return (address >> 4 & 0x3fff) | (128ll >> 4) << 16 | (256ll >> 4) << 32;
}

#define TEN(t) ", %" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define SUMS "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9" TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9) \
    TEN(10) TEN(11) ", %120, %121, %122, %123, %124, %125, %126, %127}"
#define FOUR(i) "+r"(s[i]), "+r"(s[i + 1]), "+r"(s[i + 2]), "+r"(s[i + 3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 4), FOUR(i + 8), FOUR(i + 12)
#define ALL SIXTEEN(0), SIXTEEN(16), SIXTEEN(32), SIXTEEN(48), SIXTEEN(64), SIXTEEN(80), SIXTEEN(96), SIXTEEN(112)

#define PRODUCT(name, kind, depth, rest) \
    extern "C" __global__ void __launch_bounds__(THREADS) name(int64* out, int rounds) { \
        __shared__ __align__(128) word a[A_BYTES / 4], b[B_BYTES / 4]; \
        for (int i = threadIdx.x; i < A_BYTES / 4; i += THREADS) a[i] = small(i); \
        for (int i = threadIdx.x; i < B_BYTES / 4; i += THREADS) b[i] = small(i); \
        asm volatile("fence.proxy.async;" ::: "memory"); \
        __syncthreads(); \
        int64 left = described(a), right = described(b); \
        word s[128]; \
        for (int i = 0; i < 128; ++i) s[i] = 0; \
        _Pragma("unroll 1") for (int round = 0; round < rounds; ++round) { \
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); \
            _Pragma("unroll") for (int i = 0; i < PRODUCTS; ++i) \
                asm volatile("wgmma.mma_async.sync.aligned.m64n256" kind " " SUMS ", %128, %129, 1" rest ";" \
                             : ALL : "l"(left), "l"(right)); \
            asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" ::: "memory"); \
        } \
        finish(out, s, 128, 2ll * 64 * 256 * depth * rounds * PRODUCTS); \
    }

PRODUCT(fp16, "k16.f32.f16.f16", 16, ", 1, 1, 0, 0")
PRODUCT(bf16, "k16.f32.bf16.bf16", 16, ", 1, 1, 0, 0")
PRODUCT(tf32, "k8.f32.tf32.tf32", 8, ", 1, 1")
PRODUCT(int8, "k32.s32.s8.s8", 32, "")

#else

// Earlier GPUs, and those of desktops: products of small matrices in registers, by one warp; as many at once as hide their latency.
const int PRODUCTS = 8;

#define PRODUCT(name, instruction, sums, size, ...) \
    extern "C" __global__ void __launch_bounds__(THREADS) name(int64* out, int rounds) { \
        word s[PRODUCTS * sums]; \
        for (int i = 0; i < PRODUCTS * sums; ++i) s[i] = 0; \
        word a = small(0), b = small(1), c = small(2), d = small(3), e = small(4), f = small(5); \
        for (int round = 0; round < rounds; ++round) { \
            _Pragma("unroll") for (int i = 0; i < PRODUCTS; ++i) { \
                word* x = s + i * sums; \
                asm volatile("mma.sync.aligned." instruction ";" : __VA_ARGS__); \
            } \
        } \
        finish(out, s, PRODUCTS * sums, 2ll * size * WARPS * rounds * PRODUCTS); \
    }
#define TWO "+r"(x[0]), "+r"(x[1])
#define FOUR TWO, "+r"(x[2]), "+r"(x[3])
#define SIX "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f)

#if __CUDA_ARCH__ >= 800
PRODUCT(fp16, "m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1}", 2, 16 * 8 * 16, TWO : SIX)
#define LARGE "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}"
PRODUCT(bf16, "m16n8k16.row.col.f32.bf16.bf16.f32 " LARGE, 4, 16 * 8 * 16, FOUR : SIX)
PRODUCT(tf32, "m16n8k8.row.col.f32.tf32.tf32.f32 " LARGE, 4, 16 * 8 * 8, FOUR : SIX)
PRODUCT(int8, "m16n8k32.row.col.s32.s8.s8.s32 " LARGE, 4, 16 * 8 * 32, FOUR : SIX)
#else
PRODUCT(fp16, "m16n8k8.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3}, {%4}, {%0, %1}", 2, 16 * 8 * 8, TWO : "r"(a), "r"(b), "r"(c))
PRODUCT(int8, "m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1}", 2, 8 * 8 * 16, TWO : "r"(a), "r"(b))
#endif

#endif
