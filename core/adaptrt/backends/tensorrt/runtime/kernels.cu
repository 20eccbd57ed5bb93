// Kernels around an engine: images to its input, and the boxes above a score out of its outputs. Compiled by NVRTC; with HOST
// defined, a C++ compiler makes functions of them that tests call. Pixels take integer arithmetic and table lookups, boxes the operations
// of NumPy one by one, and nothing is fused: results do not depend on the compiler.
#ifdef HOST
#define KERNEL
#else
#define KERNEL extern "C" __global__
#endif

typedef unsigned char byte;
typedef long long int64;

// An image of a batch. The fields are those of IMAGE in images.py.
struct Image {
    int64 pixels;    // address, or offset from the start of the batch if relative
    int64 relative;
    int64 pitch;     // bytes from row to row
    int64 top, left; // of the resized image in the input
    int64 height, width;  // of the resized image
    int64 taps;      // 1: copied, 2: OpenCV's linear
    int64 rows, columns;  // offsets of the tables of taps from the start of the batch
};

static
#ifndef HOST
__device__ __forceinline__
#endif
int sample(const byte* pixels, int64 pitch, const int* row, const int* column, int taps, int channels, int channel) {
    if (taps == 1) return pixels[row[0] * pitch + column[0] * channels + channel];
    const byte* first = pixels + row[0] * pitch + channel;
    const byte* second = pixels + row[2] * pitch + channel;
    int upper = first[column[0] * channels] * column[1] + first[column[2] * channels] * column[3];
    int lower = second[column[0] * channels] * column[1] + second[column[2] * channels] * column[3];
    return (((row[1] * (upper >> 4)) >> 16) + ((row[3] * (lower >> 4)) >> 16) + 2) >> 2;
}

static
#ifndef HOST
__device__ __forceinline__
#endif
void pixel(const byte* batch, void* out, const float* values, int height, int width, int channels, int swapped, int bytes,
           int pad, int index, int y, int x) {
    const Image image = ((const Image*)batch)[index];
    const byte* pixels = image.relative ? batch + image.pixels : (const byte*)image.pixels;
    int64 row = y - image.top, column = x - image.left;
    bool inside = row >= 0 && row < image.height && column >= 0 && column < image.width;
    int taps = (int)image.taps;
    const int* rows = (const int*)(batch + image.rows) + row * taps * 2;
    const int* columns = (const int*)(batch + image.columns) + column * taps * 2;
    int64 area = (int64)height * width, at = (int64)y * width + x;
    for (int channel = 0; channel < channels; ++channel) {
        int source = swapped ? channels - 1 - channel : channel;
        int value = inside ? sample(pixels, image.pitch, rows, columns, taps, channels, source) : 256;
        if (bytes) ((byte*)out)[(index * area + at) * channels + channel] = (byte)(inside ? value : pad);
        else ((float*)out)[((int64)index * channels + channel) * area + at] = values[channel * 257 + value];
    }
}

// values: [channels][257], the input value of every pixel value, and of padding. bytes: the input is uint8 [n, height, width,
// channels], and padding is pad.
KERNEL void preprocess(const byte* batch, void* out, const float* values, int height, int width, int channels, int swapped,
                       int bytes, int pad
#ifdef HOST
                       , int count) {
    for (int index = 0; index < count; ++index)
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x)
                pixel(batch, out, values, height, width, channels, swapped, bytes, pad, index, y, x);
}
#else
                       ) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x < width && y < height) pixel(batch, out, values, height, width, channels, swapped, bytes, pad, blockIdx.z, y, x);
}
#endif

// Half precision as float32, which has all its values.
KERNEL void widen(const unsigned short* halves, float* out, int64 count) {
#ifdef HOST
    for (int64 at = 0; at < count; ++at) {
#else
    int64 at = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
#endif
        unsigned half = halves[at], exponent = half >> 10 & 31, fraction = half & 1023;
        union { unsigned bits; float value; } found;
        if (exponent == 0) found.value = (float)fraction * 5.9604644775390625e-8f;  // 2^-24: no product is rounded
        else found.bits = (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
        found.bits |= (half & 0x8000u) << 16;
        out[at] = found.value;
    }
}

// Part of an output: element (image, box, number) is at start + image * per_image + box * per_box + number * per_number.
static
#ifndef HOST
__device__ __forceinline__
#endif
bool is_kept(const float* scores, int64 per_image, int64 per_box, int64 per_number, int classes, const float* factors,
             int64 factors_per_image, int64 factors_per_box, float limit, int image, int box) {
    const float* own = scores + image * per_image + box * per_box;
    float factor = factors ? factors[image * factors_per_image + box * factors_per_box] : 1.0f;
    if (factor <= limit) return false;  // scores are at most 1
    for (int number = 0; number < classes; ++number)
        if (own[number * per_number] * factor > limit) return true;
    return false;
}

// Bit box % 32 of marks[image * words + box / 32]: whether the box has a score above *limit; words = (boxes + 31) / 32.
KERNEL void mark(const float* scores, int64 per_image, int64 per_box, int64 per_number, int classes, const float* factors,
                 int64 factors_per_image, int64 factors_per_box, const float* limit, int boxes, int images, unsigned* marks) {
    int words = (boxes + 31) / 32;
#ifdef HOST
    for (int image = 0; image < images; ++image)
        for (int word = 0; word < words; ++word) {
            unsigned bits = 0;
            for (int box = word * 32; box < boxes && box < word * 32 + 32; ++box)
                if (is_kept(scores, per_image, per_box, per_number, classes, factors, factors_per_image, factors_per_box, *limit, image, box))
                    bits |= 1u << (box % 32);
            marks[(int64)image * words + word] = bits;
        }
#else
    int box = blockIdx.x * blockDim.x + threadIdx.x, image = blockIdx.y;
    bool kept = box < boxes && is_kept(scores, per_image, per_box, per_number, classes, factors, factors_per_image, factors_per_box, *limit, image, box);
    unsigned bits = __ballot_sync(0xffffffffu, kept);
    if (threadIdx.x % 32 == 0 && box < boxes) marks[(int64)image * words + box / 32] = bits;
#endif
}

static
#ifndef HOST
__device__ __forceinline__
#endif
int list_boxes(const unsigned* marks, int first, int last, int* found) {
    int count = 0;
    for (int word = first; word < last; ++word)
        for (unsigned bits = marks[word]; bits; bits &= bits - 1)
#ifdef HOST
            found[count++] = word * 32 + __builtin_ctz(bits);
#else
            found[count++] = word * 32 + __ffs(bits) - 1;
#endif
    return count;
}

// found[image * boxes + rank]: the marked boxes, ascending; counts[image], and totals[image] in page-locked host memory, are how many
// there are. A block has an image, a thread a range of words: the work grows with the number of boxes, not with its square.
KERNEL void list(const unsigned* marks, int boxes, int images, int* found, int* counts, int* totals) {
    int words = (boxes + 31) / 32;
#ifdef HOST
    for (int image = 0; image < images; ++image)
        totals[image] = counts[image] = list_boxes(marks + (int64)image * words, 0, words, found + (int64)image * boxes);
#else
    __shared__ int sums[32];
    int image = blockIdx.x, thread = threadIdx.x, each = (words + blockDim.x - 1) / blockDim.x, own = 0;
    int first = min(thread * each, words), last = min(first + each, words);
    marks += (int64)image * words;
    for (int word = first; word < last; ++word) own += __popc(marks[word]);
    int before = own;  // of the threads of this warp up to this one
    for (int step = 1; step < 32; step <<= 1) {
        int other = __shfl_up_sync(0xffffffffu, before, step);
        if (thread % 32 >= step) before += other;
    }
    if (thread % 32 == 31) sums[thread / 32] = before;
    __syncthreads();
    int total = 0;
    before -= own;
    for (int warp = 0; warp < blockDim.x / 32; ++warp) {
        if (warp < thread / 32) before += sums[warp];
        total += sums[warp];
    }
    list_boxes(marks, first, last, found + (int64)image * boxes + before);
    if (thread == 0) totals[image] = counts[image] = total;
#endif
}

// The comparison of adaptrt.vision.nms, operation by operation: NumPy's minimum and maximum return a NaN, and nothing is fused.
static
#ifndef HOST
__device__ __forceinline__
#endif
float smaller(float a, float b) { return a != a ? a : b != b ? b : a < b ? a : b; }

static
#ifndef HOST
__device__ __forceinline__
#endif
float larger(float a, float b) { return a != a ? a : b != b ? b : a > b ? a : b; }

struct Corners { float left, top, right, bottom; };

static
#ifndef HOST
__device__ __forceinline__
#endif
bool overlap(Corners a, Corners b, float limit) {
    float width = larger(smaller(a.right, b.right) - larger(a.left, b.left), 0.0f);
    float height = larger(smaller(a.bottom, b.bottom) - larger(a.top, b.top), 0.0f);
    float shared = width * height;
    float first = (a.right - a.left) * (a.bottom - a.top), second = (b.right - b.left) * (b.bottom - b.top);
    float both = first + second;
    return shared / (both - shared) > limit;
}

// A box with its best class; score: -1 where it is not above conf, or its factor is not.
struct Scored { Corners corners; float score; int label; };

static
#ifndef HOST
__device__ __forceinline__
#endif
Scored scored(const float* places, int64 places_per_number, int centers, const float* scores, int64 per_number, int classes,
              const float* factor, float conf) {
    float best = scores[0] * (factor ? *factor : 1.0f);
    int label = 0;
    for (int number = 1; number < classes; ++number) {
        float score = scores[number * per_number] * (factor ? *factor : 1.0f);
        if (score > best || (score != score && best == best)) best = score, label = number;
    }
    float x = places[0], y = places[places_per_number], width = places[2 * places_per_number], height = places[3 * places_per_number];
    Corners corners = {x, y, width, height};
    if (centers) {
        float half = width / 2.0f, other = height / 2.0f;
        corners = Corners{x - half, y - other, x + half, y + other};
    }
    bool kept = best > conf && (!factor || *factor > conf);
    return Scored{corners, kept ? best : -1.0f, label};
}

// The corners of a box among those of its class only.
static
#ifndef HOST
__device__ __forceinline__
#endif
Corners moved(Scored box, float offset) {
    float by = (float)box.label * offset;
    return Corners{box.corners.left + by, box.corners.top + by, box.corners.right + by, box.corners.bottom + by};
}

static
#ifndef HOST
__device__ __forceinline__
#endif
void write_row(float* row, Scored box) {
    row[0] = box.corners.left, row[1] = box.corners.top, row[2] = box.corners.right, row[3] = box.corners.bottom;
    row[4] = box.score, row[5] = (float)box.label;
}

// Removes the boxes that a better one of their class overlaps by more than limits[1], of images with at most MOST boxes above
// limits[0], a little below conf = limits[2]; found, counts and totals as list writes them. ranked[(image * most + rank) * 6]: the corners,
// the score and the class of those above conf that stay, the best first; kept[image]: how many. Both may lie in page-locked host memory.
// A block has an image.
#define MOST 512
KERNEL void suppress(const float* places, int64 places_per_image, int64 places_per_box, int64 places_per_number, int centers,
                     const float* scores, int64 per_image, int64 per_box, int64 per_number, int classes, const float* factors,
                     int64 factors_per_image, int64 factors_per_box, const float* limits, float offset, int boxes, int images,
                     int* found, int* counts, int* totals, int most, float* ranked, int* kept) {
#ifdef HOST
    for (int image = 0; image < images; ++image) {
        static Scored all[MOST];
        static Corners corners[MOST];
        static int state[MOST];  // 0: undecided, 1: kept, 2: removed
        int count = counts[image], *own = found + (int64)image * boxes, left = 0, rank = 0;
        float conf = limits[2];
        if (count > MOST) continue;
        for (int place = 0; place < count; ++place) {
            int box = own[place];
            all[place] = scored(places + image * places_per_image + box * places_per_box, places_per_number, centers,
                                scores + image * per_image + box * per_box, per_number, classes,
                                factors ? factors + image * factors_per_image + box * factors_per_box : 0, conf);
            corners[place] = moved(all[place], offset);
            state[place] = 0;
        }
        for (;;) {
            int next = -1;
            for (int place = 0; place < count; ++place)
                if (!state[place] && all[place].score > conf && (next < 0 || all[place].score > all[next].score)) next = place;
            if (next < 0) break;
            state[next] = 1;
            write_row(ranked + ((int64)image * most + rank++) * 6, all[next]);
            for (int place = 0; place < count; ++place)
                if (!state[place] && overlap(corners[next], corners[place], limits[1])) state[place] = 2;
        }
        for (int place = 0; place < count; ++place)
            if (state[place] != 2) own[left++] = own[place];
        totals[image] = counts[image] = left;
        kept[image] = rank;
    }
#else
    __shared__ Corners corners[MOST];
    __shared__ float sorted[MOST], unsorted[MOST];
    __shared__ int stays[MOST];
    int image = blockIdx.x, thread = threadIdx.x, count = counts[image], *own = found + (int64)image * boxes;
    if (count > MOST) return;
    float conf = limits[2];
    // a block has MOST threads: each has one box
    int box = thread < count ? own[thread] : 0, rank = 0;
    Scored mine;
    if (thread < count) {
        mine = scored(places + image * places_per_image + box * places_per_box, places_per_number, centers,
                      scores + image * per_image + box * per_box, per_number, classes,
                      factors ? factors + image * factors_per_image + box * factors_per_box : 0, conf);
        unsorted[thread] = mine.score;
    }
    __syncthreads();
    if (thread < count) {
        for (int other = 0; other < count; ++other)
            rank += unsorted[other] > mine.score || (unsorted[other] == mine.score && other < thread);
        corners[rank] = moved(mine, offset);
        sorted[rank] = mine.score;
        stays[rank] = 1;
    }
    __syncthreads();
    for (int next = 0; next < count; ++next) {  // a turn writes only behind next, and all threads read stays[next] before
        if (!stays[next]) continue;
        if (!(sorted[next] > conf)) break;
        if (thread > next && thread < count && stays[thread] && overlap(corners[next], corners[thread], limits[1])) stays[thread] = 0;
        __syncthreads();
    }
    __syncthreads();
    int own_stays = thread < count ? stays[rank] : 0;
    if (thread < count) unsorted[thread] = own_stays ? 1.0f : 0.0f;
    __syncthreads();
    if (thread < count) {
        int before = 0, better = 0;
        for (int other = 0; other < thread; ++other) before += unsorted[other] != 0.0f;
        for (int other = 0; other < rank; ++other) better += stays[other] && sorted[other] > conf;
        if (own_stays) own[before] = box;
        if (own_stays && mine.score > conf) write_row(ranked + ((int64)image * most + better) * 6, mine);
        if (thread == count - 1) totals[image] = counts[image] = before + own_stays;
        if (rank == count - 1) kept[image] = better + (own_stays && mine.score > conf);
    }
    if (count == 0 && thread == 0) kept[image] = 0;
#endif
}

// rows[(image * most + rank) * numbers + number]: every number of the first most boxes found, which may lie in page-locked host
// memory. A warp has a row.
KERNEL void gather(const float* output, int64 per_image, int64 per_box, int64 per_number, int numbers, int most, int boxes, int images,
                   const int* counts, const int* found, float* rows) {
#ifdef HOST
    for (int image = 0; image < images; ++image)
        for (int rank = 0; rank < counts[image] && rank < most; ++rank) {
            const float* own = output + image * per_image + found[(int64)image * boxes + rank] * per_box;
            for (int number = 0; number < numbers; ++number)
                rows[((int64)image * most + rank) * numbers + number] = own[number * per_number];
        }
#else
    int image = blockIdx.y, count = min(counts[image], most);
    for (int rank = blockIdx.x * blockDim.y + threadIdx.y; rank < count; rank += gridDim.x * blockDim.y) {
        const float* own = output + image * per_image + found[(int64)image * boxes + rank] * per_box;
        for (int number = threadIdx.x; number < numbers; number += 32)
            rows[((int64)image * most + rank) * numbers + number] = own[number * per_number];
    }
#endif
}
