// Reads spec.json of adaptrt, prepares images and decodes outputs. C++17, header only, no dependencies.
//
// Images are uint8, rows of RGB pixels. Boxes are x1 y1 x2 y2 in pixels of the original image. Supported are the decoders yolo
// (one output [4 + classes, N]), yolo_anchor ([N, 5 + classes]), boxes (scores [Q], labels [Q], boxes [Q, 4]) and classify
// (one output [K]).
// Every error is a std::runtime_error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace adaptrt {

inline void require(bool holds, const std::string& message) {
  if (!holds) throw std::runtime_error(message);
}

// A JSON value. The file is written by adaptrt: numbers are doubles, and \u escapes outside of ASCII become '?'.
class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  double value = 0;
  std::string text;
  std::vector<std::string> keys;
  std::vector<Json> items;

  static Json parse(const std::string& source) {
    size_t at = 0;
    Json found = read(source, at, 0);
    skip(source, at);
    require(at == source.size(), "JSON: unexpected text at the end");
    return found;
  }
  const Json& operator[](const std::string& key) const {
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys[i] == key) return items[i];
    throw std::runtime_error("JSON: missing key " + key);
  }
  bool has(const std::string& key) const { return std::find(keys.begin(), keys.end(), key) != keys.end(); }
  bool is_null() const { return kind == Kind::null; }
  double number() const { return require(kind == Kind::number, "JSON: not a number"), value; }
  bool boolean() const { return require(kind == Kind::boolean, "JSON: not true or false"), value != 0; }
  const std::string& string() const { return require(kind == Kind::string, "JSON: not a string"), text; }
  int integer() const { return static_cast<int>(number()); }

 private:
  static void skip(const std::string& s, size_t& at) {
    while (at < s.size() && (s[at] == ' ' || s[at] == '\n' || s[at] == '\r' || s[at] == '\t')) ++at;
  }
  static char next(const std::string& s, size_t& at) {
    require(at < s.size(), "JSON: unexpected end");
    return s[at++];
  }
  static bool take(const std::string& s, size_t& at, const std::string& word) {
    if (s.compare(at, word.size(), word) != 0) return false;
    at += word.size();
    return true;
  }
  static Json read(const std::string& s, size_t& at, int depth) {
    require(depth < 64, "JSON: nested too deeply");
    skip(s, at);
    Json found;
    require(at < s.size(), "JSON: unexpected end");
    if (s[at] == '"') {
      found.kind = Kind::string;
      found.text = read_string(s, at);
    } else if (s[at] == '[' || s[at] == '{') {
      const bool object = s[at++] == '{';
      const char last = object ? '}' : ']';
      found.kind = object ? Kind::object : Kind::array;
      skip(s, at);
      if (at < s.size() && s[at] == last) return ++at, found;
      while (true) {
        skip(s, at);
        if (object) {
          found.keys.push_back(read_string(s, at));
          skip(s, at);
          require(next(s, at) == ':', "JSON: ':' expected");
        }
        found.items.push_back(read(s, at, depth + 1));
        skip(s, at);
        const char c = next(s, at);
        if (c == last) break;
        require(c == ',', "JSON: ',' expected");
      }
    } else if (take(s, at, "true")) {
      found.kind = Kind::boolean;
      found.value = 1;
    } else if (take(s, at, "false")) {
      found.kind = Kind::boolean;
    } else if (!take(s, at, "null")) {
      const char* begin = s.c_str() + at;
      char* end = nullptr;
      found.kind = Kind::number;
      found.value = std::strtod(begin, &end);
      require(end != begin, "JSON: a value is expected");
      at += static_cast<size_t>(end - begin);
    }
    return found;
  }
  static std::string read_string(const std::string& s, size_t& at) {
    require(next(s, at) == '"', "JSON: a string is expected");
    std::string found;
    for (char c = next(s, at); c != '"'; c = next(s, at)) {
      if (c != '\\') {
        found += c;
        continue;
      }
      c = next(s, at);
      if (c == 'u') {
        require(at + 4 <= s.size(), "JSON: unexpected end");
        const long code = std::strtol(s.substr(at, 4).c_str(), nullptr, 16);
        at += 4;
        found += code < 128 ? static_cast<char>(code) : '?';
      } else {
        const std::string escapes = "bfnrt", characters = "\b\f\n\r\t";
        const size_t index = escapes.find(c);
        found += index == std::string::npos ? c : characters[index];
      }
    }
    return found;
  }
};

// How images become the input, and how outputs are decoded.
struct Spec {
  std::string input, resize, decoder;
  int height = 0, width = 0, min_batch = 1, max_batch = 1, pad = 0;
  bool pad_zeros = false;  // after the normalization
  bool bgr = false, center = true, nearest = false, embedded = false;
  double scale = 1, crop_fraction = 1;
  std::vector<double> mean, std;
  std::vector<std::string> outputs, labels;
  double conf = 0, iou = 0;
  bool nms = false, agnostic = false, probabilities = false;
  int max_det = 300, top_k = 5;
  std::vector<int> classes;  // empty: all

  static Spec from_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    require(static_cast<bool>(file), "cannot read " + path);
    return from_json(Json::parse(std::string(std::istreambuf_iterator<char>(file), {})));
  }
  static Spec from_json(const Json& json) {
    Spec spec;
    const Json& image = json["image"];
    require(!image.is_null() && json["inputs"].items.size() == 1, "the model must have one input, an image");
    spec.input = image["input"].string();
    spec.embedded = image.has("embedded") && image["embedded"].boolean();
    const Json& dims = json["inputs"].items[0]["profiles"].items.at(0);
    require(dims.items.size() == 4, "the image input must have four axes");
    const size_t rows = spec.embedded ? 1 : 2, channels = spec.embedded ? 3 : 1;
    require(dims.items[channels]["opt"].integer() == 3, "only RGB images are supported");
    spec.min_batch = dims.items[0]["min"].integer();
    spec.max_batch = dims.items[0]["max"].integer();
    spec.height = dims.items[rows]["opt"].integer();
    spec.width = dims.items[rows + 1]["opt"].integer();
    spec.resize = image["resize"].string();
    spec.nearest = image["interpolation"].string() == "nearest";
    spec.bgr = image["colors"].string() == "bgr";
    spec.scale = image["scale"].number();
    spec.center = image["center"].boolean();
    spec.crop_fraction = image["crop_fraction"].number();
    spec.pad_zeros = image["pad"].is_null();
    spec.pad = spec.pad_zeros ? 0 : image["pad"].integer();
    for (const Json& one : image["mean"].items) spec.mean.push_back(one.number());
    for (const Json& one : image["std"].items) spec.std.push_back(one.number());
    require(spec.mean.size() == 3 && spec.std.size() == 3, "mean and std must have three values");
    for (const Json& one : json["outputs"].items) spec.outputs.push_back(one["name"].string());
    for (const Json& one : json["labels"].items) spec.labels.push_back(one.string());
    const Json &decoder = json["decoder"], &params = decoder["params"];
    spec.decoder = decoder["name"].string();
    if (spec.decoder == "classify") {
      spec.top_k = params["top_k"].integer();
      spec.probabilities = params["probabilities"].boolean();
      return spec;
    }
    require(spec.decoder == "yolo" || spec.decoder == "yolo_anchor" || spec.decoder == "boxes",
            "unsupported decoder " + spec.decoder);
    spec.conf = params["conf"].number();
    spec.nms = !params["iou"].is_null();
    spec.iou = spec.nms ? params["iou"].number() : 0;
    spec.max_det = params["max_det"].integer();
    spec.agnostic = params["agnostic"].boolean();
    for (const Json& one : params["classes"].items) spec.classes.push_back(one.integer());
    return spec;
  }
  std::string label(int64_t index) const {
    return index >= 0 && static_cast<size_t>(index) < labels.size() ? labels[static_cast<size_t>(index)]
                                                                     : std::to_string(index);
  }
};

struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3], RGB
};

// Input pixel = original pixel * scale + offset.
struct Placement {
  int height = 0, width = 0;  // of the original image
  double scale_y = 1, scale_x = 1, offset_y = 0, offset_x = 0;
};

// Bilinear (or nearest) resampling with the pixel centers of OpenCV; values differ from OpenCV's by at most one by rounding.
inline Image resize(const Image& source, int top, int left, int height, int width, int to_height, int to_width, bool nearest) {
  Image out{to_height, to_width, std::vector<uint8_t>(static_cast<size_t>(to_height) * to_width * 3)};
  const auto at = [&](int y, int x, int c) {
    return source.pixels[(static_cast<size_t>(top + y) * source.width + left + x) * 3 + c];
  };
  for (int y = 0; y < to_height; ++y) {
    for (int x = 0; x < to_width; ++x) {
      uint8_t* pixel = &out.pixels[(static_cast<size_t>(y) * to_width + x) * 3];
      if (nearest) {
        const int fy = std::min(height - 1, static_cast<int>(std::floor(static_cast<double>(y) * height / to_height)));
        const int fx = std::min(width - 1, static_cast<int>(std::floor(static_cast<double>(x) * width / to_width)));
        for (int c = 0; c < 3; ++c) pixel[c] = at(fy, fx, c);
        continue;
      }
      const double sy = std::clamp((y + 0.5) * height / to_height - 0.5, 0.0, height - 1.0);
      const double sx = std::clamp((x + 0.5) * width / to_width - 0.5, 0.0, width - 1.0);
      const int y0 = static_cast<int>(sy), x0 = static_cast<int>(sx);
      const int y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
      const double wy = sy - y0, wx = sx - x0;
      for (int c = 0; c < 3; ++c) {
        const double upper = at(y0, x0, c) * (1 - wx) + at(y0, x1, c) * wx;
        const double lower = at(y1, x0, c) * (1 - wx) + at(y1, x1, c) * wx;
        pixel[c] = static_cast<uint8_t>(std::lround(upper * (1 - wy) + lower * wy));
      }
    }
  }
  return out;
}

// Writes the input of one image: float [3, height, width], or uint8 [height, width, 3] if the graph normalizes.
template <typename T>
Placement prepare(const Image& image, const Spec& spec, T* out) {
  require(image.height > 0 && image.width > 0 &&
              image.pixels.size() == static_cast<size_t>(image.height) * image.width * 3,
          "the image must be [height, width, 3]");
  require(spec.embedded == (sizeof(T) == 1), "the type of the buffer is not that of the input");
  int top = 0, left = 0, height = image.height, width = image.width;              // what is used of the image
  int inner_height = spec.height, inner_width = spec.width, down = 0, right = 0;  // where it lies in the input
  const auto rounded = [](double value) { return static_cast<int>(std::nearbyint(value)); };
  if (spec.resize == "letterbox") {
    const double ratio = std::min(static_cast<double>(spec.height) / height, static_cast<double>(spec.width) / width);
    inner_height = std::max(1, rounded(height * ratio));
    inner_width = std::max(1, rounded(width * ratio));
    if (spec.center) {
      down = rounded((spec.height - inner_height) / 2.0 - 0.1);
      right = rounded((spec.width - inner_width) / 2.0 - 0.1);
    }
  } else if (spec.resize == "crop") {
    const int tall = static_cast<int>(std::floor(spec.height / spec.crop_fraction));
    const int wide = static_cast<int>(std::floor(spec.width / spec.crop_fraction));
    if (tall != wide) {
      const double ratio = std::min(static_cast<double>(height) / tall, static_cast<double>(width) / wide);
      inner_height = rounded(height / ratio);
      inner_width = rounded(width / ratio);
    } else if (width <= height) {
      inner_height = static_cast<int>(static_cast<double>(wide) * height / width);
      inner_width = wide;
    } else {
      inner_height = tall;
      inner_width = static_cast<int>(static_cast<double>(tall) * width / height);
    }
    down = -rounded((inner_height - spec.height) / 2.0);
    right = -rounded((inner_width - spec.width) / 2.0);
  } else if (spec.resize == "square") {
    const int side = std::min(height, width);
    top = (height - side) / 2;
    left = (width - side) / 2;
    height = width = side;
  } else {
    require(spec.resize == "stretch", "unsupported resize " + spec.resize);
  }
  Placement place{image.height, image.width};
  place.scale_y = static_cast<double>(inner_height) / height;
  place.scale_x = static_cast<double>(inner_width) / width;
  place.offset_y = down - top * place.scale_y;
  place.offset_x = right - left * place.scale_x;
  const Image inner = resize(image, top, left, height, width, inner_height, inner_width, spec.nearest);
  for (int y = 0; y < spec.height; ++y) {
    for (int x = 0; x < spec.width; ++x) {
      const int sy = y - down, sx = x - right;
      const bool inside = sy >= 0 && sy < inner_height && sx >= 0 && sx < inner_width;
      const uint8_t* pixel = inside ? &inner.pixels[(static_cast<size_t>(sy) * inner_width + sx) * 3] : nullptr;
      for (size_t c = 0; c < 3; ++c) {
        if (spec.embedded) {
          out[(static_cast<size_t>(y) * spec.width + x) * 3 + c] = static_cast<T>(inside ? pixel[c] : spec.pad);
          continue;
        }
        const int value = inside ? pixel[spec.bgr ? 2 - c : c] : spec.pad;
        const bool zero = !inside && spec.pad_zeros;
        out[(c * spec.height + y) * spec.width + x] =
            static_cast<T>(zero ? 0.0 : (value * spec.scale - spec.mean[c]) / spec.std[c]);
      }
    }
  }
  return place;
}

struct Detection {
  float x1, y1, x2, y2, score;
  int64_t label;
};

struct Class {
  float score;
  int64_t label;
};

inline float overlap(const Detection& a, const Detection& b) {
  const float width = std::max(0.0f, std::min(a.x2, b.x2) - std::max(a.x1, b.x1));
  const float height = std::max(0.0f, std::min(a.y2, b.y2) - std::max(a.y1, b.y1));
  const float shared = width * height;
  const float all = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - shared;
  return all > 0 ? shared / all : 0;
}

// Confidence, classes, order, NMS, number; then pixels of the original image.
inline std::vector<Detection> select(std::vector<Detection> found, const Spec& spec, const Placement& place) {
  const float conf = static_cast<float>(spec.conf);
  const auto drop = [&](const Detection& one) {
    const bool wanted = spec.classes.empty() || std::count(spec.classes.begin(), spec.classes.end(), one.label);
    return !(one.score > conf) || !wanted;
  };
  found.erase(std::remove_if(found.begin(), found.end(), drop), found.end());
  std::stable_sort(found.begin(), found.end(), [](const Detection& a, const Detection& b) { return a.score > b.score; });
  std::vector<Detection> kept;
  for (const Detection& one : found) {
    if (static_cast<int>(kept.size()) == spec.max_det) break;
    const auto suppresses = [&](const Detection& better) {
      return (spec.agnostic || better.label == one.label) && overlap(better, one) > spec.iou;
    };
    if (!spec.nms || std::none_of(kept.begin(), kept.end(), suppresses)) kept.push_back(one);
  }
  const auto map = [](float value, double scale, double offset, int size) {
    return static_cast<float>(std::clamp((value - offset) / scale, 0.0, static_cast<double>(size)));
  };
  for (Detection& one : kept) {
    one.x1 = map(one.x1, place.scale_x, place.offset_x, place.width);
    one.x2 = map(one.x2, place.scale_x, place.offset_x, place.width);
    one.y1 = map(one.y1, place.scale_y, place.offset_y, place.height);
    one.y2 = map(one.y2, place.scale_y, place.offset_y, place.height);
  }
  return kept;
}

// ``raw``: [4 + classes, count] of one image: center, size, then a score for each class.
inline std::vector<Detection> decode_yolo(const float* raw, int rows, int count, const Spec& spec, const Placement& place) {
  require(rows > 4 && (spec.labels.empty() || rows == 4 + static_cast<int>(spec.labels.size())),
          "the output must be [4 + classes, N]");
  std::vector<Detection> found;
  for (int i = 0; i < count; ++i) {
    const auto value = [&](int row) { return raw[static_cast<size_t>(row) * count + i]; };
    int best = 4;
    for (int row = 5; row < rows; ++row)
      if (value(row) > value(best)) best = row;
    const float x = value(0), y = value(1), w = value(2) / 2, h = value(3) / 2;
    found.push_back({x - w, y - h, x + w, y + h, value(best), best - 4});
  }
  return select(std::move(found), spec, place);
}

// ``raw``: [count, 5 + classes] of one image, as the classic YOLOv5 returns it: center, size, objectness, then a score for each
// class, which the objectness multiplies.
inline std::vector<Detection> decode_yolo_anchor(const float* raw, int count, int columns, const Spec& spec,
                                                 const Placement& place) {
  require(columns > 5 && (spec.labels.empty() || columns == 5 + static_cast<int>(spec.labels.size())),
          "the output must be [N, 5 + classes]");
  std::vector<Detection> found;
  for (int i = 0; i < count; ++i) {
    const float* row = raw + static_cast<size_t>(columns) * static_cast<size_t>(i);
    int best = 5;
    for (int column = 6; column < columns; ++column)
      if (row[column] > row[best]) best = column;
    const float x = row[0], y = row[1], w = row[2] / 2, h = row[3] / 2;
    found.push_back({x - w, y - h, x + w, y + h, row[4] * row[best], best - 5});
  }
  return select(std::move(found), spec, place);
}

// ``scores`` and ``labels``: [count], ``boxes``: [count, 4], of one image, as DETR and its relatives return them.
template <typename Label>
std::vector<Detection> decode_boxes(const float* scores, const Label* labels, const float* boxes, int count,
                                    const Spec& spec, const Placement& place) {
  std::vector<Detection> found;
  for (int i = 0; i < count; ++i) {
    const float* box = boxes + 4 * static_cast<size_t>(i);
    found.push_back({box[0], box[1], box[2], box[3], scores[i], static_cast<int64_t>(labels[i])});
  }
  return select(std::move(found), spec, place);
}

// ``raw``: [count] of one image. The best classes, most likely first.
inline std::vector<Class> decode_classify(const float* raw, int count, const Spec& spec) {
  require(spec.labels.empty() || count == static_cast<int>(spec.labels.size()), "the output must be [classes]");
  std::vector<float> scores(raw, raw + count);
  if (!spec.probabilities) {
    const float largest = *std::max_element(scores.begin(), scores.end());
    for (float& score : scores) score = std::exp(score - largest);
    const float sum = std::accumulate(scores.begin(), scores.end(), 0.0f);
    for (float& score : scores) score /= sum;
  }
  std::vector<Class> found;
  for (int i = 0; i < count; ++i) found.push_back({scores[static_cast<size_t>(i)], i});
  std::stable_sort(found.begin(), found.end(), [](const Class& a, const Class& b) { return a.score > b.score; });
  found.resize(std::min(found.size(), static_cast<size_t>(spec.top_k)));
  return found;
}

}  // namespace adaptrt
