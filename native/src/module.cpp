// The Python module: takes weights as buffers that Python keeps, gives logits as NumPy arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "ceilings.h"
#include "dequantize.h"
#include "model.h"
#include "python_tap.h"
#include "sampler.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace nextword;

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Doubles = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatRows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using NumberRows = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

[[noreturn]] void raise_value_error(const std::string& message) { throw nb::value_error(message.c_str()); }

NumberRows to_numpy(std::unique_ptr<float[]> values, size_t rows, size_t columns) {
  float* data = values.release();
  nb::capsule owner(data, [](void* memory) noexcept { delete[] static_cast<float*>(memory); });
  return NumberRows(data, {rows, columns}, owner);
}

template <class Value>
Value parse_choice(const std::string& name, std::initializer_list<std::pair<const char*, Value>> choices) {
  for (const auto& [key, value] : choices)
    if (name == key) return value;
  raise_value_error("no choice: " + name);
}

Format format_of(const std::string& name) {
  return parse_choice<Format>(name, {{"F32", Format::F32},
                                     {"F16", Format::F16},
                                     {"BF16", Format::BF16},
                                     {"Q8_0", Format::Q8_0},
                                     {"Q4_0", Format::Q4_0},
                                     {"Q4_1", Format::Q4_1},
                                     {"Q5_0", Format::Q5_0},
                                     {"Q5_1", Format::Q5_1},
                                     {"IQ4_NL", Format::IQ4_NL},
                                     {"Q2_K", Format::Q2_K},
                                     {"Q3_K", Format::Q3_K},
                                     {"Q4_K", Format::Q4_K},
                                     {"Q5_K", Format::Q5_K},
                                     {"Q6_K", Format::Q6_K}});
}

CacheFormat cache_format_of(const std::string& name) {
  return parse_choice<CacheFormat>(
      name, {{"float32", CacheFormat::F32}, {"float16", CacheFormat::F16}, {"int8", CacheFormat::INT8}});
}

ActivationFormat activation_format_of(const std::string& name) {
  return parse_choice<ActivationFormat>(
      name, {{"float32", ActivationFormat::F32}, {"int16", ActivationFormat::INT16}, {"int8", ActivationFormat::INT8}});
}

const Kernels& kernels_of(const std::string& name) {
  for (auto tables = available_kernels(); *tables; ++tables)
    if (name.empty() || name == (*tables)->name) return **tables;
  raise_value_error("this processor cannot run the kernels " + name);
}

/// A matrix as a file has it. Its rows must be whole blocks, its bytes all there.
Matrix matrix_of(const std::string& name, const std::string& format, int64_t rows, int64_t columns, const Bytes& data) {
  const Matrix m{format_of(format), rows, columns, data.data(), nullptr};
  if ((is_quantized(m.format) && columns % block_layout(m.format).columns) ||
      int64_t(data.size()) != rows * m.row_bytes())
    raise_value_error("wrong number of bytes: " + name);
  return m;
}

NumberRows dequantize(const std::string& format, int64_t rows, int64_t columns, const Bytes& data) {
  const Matrix m = matrix_of(format, format, rows, columns, data);
  auto values = std::make_unique<float[]>(size_t(rows * columns));
  for (int64_t row = 0; row < rows; ++row) dequantize_row(m, row, values.get() + row * columns);
  return to_numpy(std::move(values), size_t(rows), size_t(columns));
}

Config config_of(const nb::dict& values) {
  const auto number = [&](const char* name) { return nb::cast<int64_t>(values[name]); };
  Config config{};
  config.vocab_size = number("vocab_size"), config.context_length = number("context_length");
  config.num_heads = number("num_heads"), config.num_kv_heads = number("num_kv_heads");
  config.d_model = number("d_model"), config.head_dim = number("head_dim"), config.d_ff = number("d_ff");
  config.num_layers = number("num_layers");
  config.norm_eps = nb::cast<float>(values["norm_eps"]);
  config.activation =
      parse_choice<Activation>(nb::cast<std::string>(values["activation"]), {{"gelu", Activation::GELU},
                                                                             {"gelu_tanh", Activation::GELU_TANH},
                                                                             {"relu_squared", Activation::RELU_SQUARED},
                                                                             {"swiglu", Activation::SWIGLU}});
  config.rope_interleaved = nb::cast<std::string>(values["rope_layout"]) == "interleaved";
  config.residual_normalized = nb::cast<std::string>(values["residual"]) == "normalized";
  return config;
}

/// Reads weights out of the two dictionaries; every size is checked against the config.
class WeightReader {
 public:
  WeightReader(const Config& config, const nb::dict& matrices, const nb::dict& vectors)
      : config_(config), matrices_(matrices), vectors_(vectors) {}

  Matrix matrix(const std::string& name, int64_t rows, int64_t columns) const {
    const auto stored = nb::cast<nb::tuple>(matrices_[name.c_str()]);
    return matrix_of(name, nb::cast<std::string>(stored[0]), rows, columns, nb::cast<Bytes>(stored[1]));
  }

  std::vector<float> vector(const std::string& name, int64_t length) const {
    if (!vectors_.contains(name.c_str())) return {};
    const auto values = nb::cast<Floats>(vectors_[name.c_str()]);
    if (int64_t(values.size()) != length) raise_value_error("wrong length: " + name);
    return {values.data(), values.data() + length};
  }

  Linear linear(const std::string& name, int64_t rows, int64_t columns) const {
    return {matrix(name + ".weight", rows, columns), vector(name + ".bias", rows)};
  }

  Norm norm(const std::string& name, int64_t width) const {
    return {vector(name + ".weight", width), vector(name + ".bias", width)};
  }

  Layer layer(int64_t index) const {
    const std::string block = "blocks." + std::to_string(index) + ".";
    const int64_t D = config_.d_model, C = config_.head_dim, F = config_.d_ff;
    const int64_t q_width = config_.num_heads * C, kv_width = config_.num_kv_heads * C;
    Layer layer;
    layer.ln1 = norm(block + "ln1", D), layer.ln2 = norm(block + "ln2", D);
    layer.q_norm = norm(block + "attn.q_norm", C), layer.k_norm = norm(block + "attn.k_norm", C);
    layer.q = linear(block + "attn.q_proj", q_width, D);
    layer.k = linear(block + "attn.k_proj", kv_width, D);
    layer.v = linear(block + "attn.v_proj", kv_width, D);
    layer.out = linear(block + "attn.out_proj", D, q_width);
    if (config_.activation == Activation::SWIGLU) layer.gate = linear(block + "ffn.gate", F, D);
    layer.up = linear(block + "ffn.up", F, D);
    layer.down = linear(block + "ffn.down", D, F);
    return layer;
  }

  bool has(const char* name) const { return matrices_.contains(name); }

 private:
  const Config& config_;
  const nb::dict &matrices_, &vectors_;
};

LogitRows logit_rows_of(const std::string& name) {
  return parse_choice<LogitRows>(name, {{"last", LogitRows::LAST}, {"all", LogitRows::ALL}, {"none", LogitRows::NONE}});
}

/// A model and the Python buffers its weights lie in.
class PyModel {
 public:
  PyModel(const nb::dict& config, const nb::dict& matrices, const nb::dict& vectors, const Doubles& rope_frequencies,
          double rope_attention_factor, const nb::list& rope_layers, const nb::list& windows, int threads,
          const std::string& kernels, const std::string& activations, bool packs)
      : buffers_(nb::make_tuple(matrices, vectors)) {
    if (threads < 1) raise_value_error("a model runs on at least 1 thread, not on " + std::to_string(threads));
    const Config read = config_of(config);
    const WeightReader reader(read, matrices, vectors);
    Weights weights;
    weights.embedding = reader.matrix("token_embedding.weight", read.vocab_size, read.d_model);
    if (reader.has("position_encoding.weight"))
      weights.positions = reader.matrix("position_encoding.weight", read.context_length, read.d_model);
    for (int64_t i = 0; i < read.num_layers; ++i) {
      weights.layers.push_back(reader.layer(i));
      weights.layers.back().use_rope = nb::cast<bool>(rope_layers[size_t(i)]);
      weights.layers.back().window = nb::cast<int64_t>(windows[size_t(i)]);
    }
    weights.final_norm = reader.norm("ln_final", read.d_model);
    weights.output.weights = reader.has("output_layer.weight")
                                 ? reader.matrix("output_layer.weight", read.vocab_size, read.d_model)
                                 : weights.embedding;
    weights.output.bias = reader.vector("output_layer.bias", read.vocab_size);
    weights.rope_frequencies.assign(rope_frequencies.data(), rope_frequencies.data() + rope_frequencies.size());
    weights.rope_attention_factor = rope_attention_factor;
    model_ = std::make_unique<Model>(read, std::move(weights), kernels_of(kernels), threads,
                                     activation_format_of(activations), packs);
  }

  std::unique_ptr<Cache> new_cache(int64_t capacity, const std::string& format) const {
    return model_->new_cache(capacity, cache_format_of(format));
  }

  NumberRows forward(const std::vector<Ids>& ids, const std::vector<Cache*>& caches, const std::string& logits,
                     const nb::object& tap) {
    if (ids.size() != caches.size()) raise_value_error("as many caches as chunks are needed");
    const LogitRows asked = logit_rows_of(logits);
    std::vector<Chunk> chunks;
    size_t rows = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!caches[i]) raise_value_error("a chunk has no cache");
      chunks.push_back({ids[i].data(), int64_t(ids[i].size()), caches[i]});
      rows += asked == LogitRows::ALL ? ids[i].size() : asked == LogitRows::LAST ? 1 : 0;
    }
    return run(rows, tap, [&](float* out, Tap* seen) { model_->forward(chunks, asked, out, seen); });
  }

  NumberRows forward_from(int64_t layer, const std::vector<FloatRows>& residual, const std::vector<Cache*>& caches,
                          const std::string& logits, const nb::object& tap) {
    if (residual.size() != caches.size()) raise_value_error("as many caches as chunks are needed");
    if (layer < 0 || layer >= model_->config().num_layers) raise_value_error("there is no such layer");
    const LogitRows asked = logit_rows_of(logits);
    std::vector<Chunk> chunks;
    size_t rows = 0;
    for (size_t i = 0; i < residual.size(); ++i) {
      if (!caches[i]) raise_value_error("a chunk has no cache");
      if (int64_t(residual[i].shape(1)) != model_->config().d_model) raise_value_error("rows of another width");
      chunks.push_back({nullptr, int64_t(residual[i].shape(0)), caches[i], residual[i].data()});
      rows += asked == LogitRows::ALL ? residual[i].shape(0) : asked == LogitRows::LAST ? 1 : 0;
    }
    return run(rows, tap, [&](float* out, Tap* seen) { model_->forward(chunks, asked, out, seen, layer); });
  }

  NumberRows unembed(const FloatRows& residual, const nb::object& tap) {
    if (int64_t(residual.shape(1)) != model_->config().d_model) raise_value_error("rows of another width");
    const auto rows = int64_t(residual.shape(0));
    return run(residual.shape(0), tap,
               [&](float* out, Tap* seen) { model_->unembed(residual.data(), rows, out, seen); });
  }

  NumberRows linear(const std::string& name, const FloatRows& x) {
    const Linear* linear = model_->linear(name);
    if (!linear) raise_value_error("the model has no matrix " + name);
    if (int64_t(x.shape(1)) != linear->weights.columns) raise_value_error("rows of another width");
    const auto rows = int64_t(x.shape(0));
    auto out = std::make_unique<float[]>(size_t(rows * linear->weights.rows));
    {
      nb::gil_scoped_release release;
      if (rows) model_->apply(*linear, x.data(), rows, out.get());
    }
    return to_numpy(std::move(out), x.shape(0), size_t(linear->weights.rows));
  }

  bool owns(const Cache& cache) const { return cache.model() == model_->id(); }
  bool is_packed() const { return model_->is_packed(); }
  std::string kernels() const { return model_->kernels().name; }
  int threads() const { return model_->threads(); }

 private:
  /// What work(logits, tap) writes: rows of logits.
  template <class Work>
  NumberRows run(size_t rows, const nb::object& tap, const Work& work) {
    const auto width = size_t(model_->config().vocab_size);
    auto logits = std::make_unique<float[]>(rows * width);
    std::unique_ptr<PyTap> seen;
    if (!tap.is_none()) seen = std::make_unique<PyTap>(tap, model_->config());
    {
      nb::gil_scoped_release release;
      work(logits.get(), seen.get());
    }
    return to_numpy(std::move(logits), rows, width);
  }

  nb::object buffers_;
  std::unique_ptr<Model> model_;
};

void init_sampler(Sampler* self, double temperature, int64_t top_k, double top_p, double min_p,
                  double repetition_penalty, double presence_penalty, double frequency_penalty,
                  std::vector<std::pair<int64_t, float>> logit_bias, const std::string& kernels) {
  new (self) Sampler({temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty,
                      std::move(logit_bias)},
                     kernels_of(kernels));
}

void read_tokens(Sampler& sampler, const std::vector<int64_t>& ids) {
  for (const int64_t id : ids) sampler.read(id);
}

int64_t draw_token(Sampler& sampler, const Floats& logits, double random) {
  return sampler.draw(logits.data(), int64_t(logits.size()), random);
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (auto tables = available_kernels(); *tables; ++tables) names.push_back((*tables)->name);
  return names;
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "The forward pass in native code; nextword.engine wraps it.";
  module.def("kernels", &kernel_names, "Kernels that this processor can run, best first.");
  module.def(
      "read_speed",
      [](int threads, int64_t bytes, const std::string& kernels) {
        return read_speed(kernels_of(kernels), threads, bytes);
      },
      "threads"_a, "size"_a, "kernels"_a = "", nb::call_guard<nb::gil_scoped_release>(),
      "Bytes a second at which a buffer of `size` bytes is read.");
  module.def(
      "multiply_speed",
      [](int threads, const std::string& kernels) { return multiply_speed(kernels_of(kernels), threads); }, "threads"_a,
      "kernels"_a = "", nb::call_guard<nb::gil_scoped_release>(), "float32 operations a second.");
  module.def("dequantize", &dequantize, "kind"_a, "rows"_a, "columns"_a, "data"_a,
             "The numbers of a matrix as a file has it.");
  module.def(
      "is_finite",
      [](const std::string& format, const Bytes& data) {
        const BlockLayout block = block_layout(format_of(format));
        const Matrix m = matrix_of(format, format, 1, int64_t(data.size()) * block.columns / block.file_bytes, data);
        nb::gil_scoped_release release;
        return is_finite(m);
      },
      "kind"_a, "data"_a, "Whether every number of a matrix is finite.");
  nb::class_<Cache>(module, "Cache", "Keys and values of one sequence.")
      .def_prop_ro("length", &Cache::length)
      .def_prop_ro("capacity", &Cache::capacity)
      .def_prop_ro("nbytes", &Cache::bytes)
      .def(
          "truncate",
          [](Cache& cache, int64_t length) {
            if (length < 0 || length > cache.length())
              raise_value_error("cannot truncate a cache of " + std::to_string(cache.length()) + " tokens to " +
                                std::to_string(length));
            cache.truncate(length);
          },
          "length"_a)
      .def("fork", &Cache::fork)
      .def_rw("origin", &Cache::origin);
  nb::class_<PyModel>(module, "Model", "Weights, and threads that run them.")
      .def(nb::init<const nb::dict&, const nb::dict&, const nb::dict&, const Doubles&, double, const nb::list&,
                    const nb::list&, int, const std::string&, const std::string&, bool>(),
           "config"_a, "matrices"_a, "vectors"_a, "rope_frequencies"_a, "rope_attention_factor"_a, "rope_layers"_a,
           "windows"_a, "threads"_a, "kernels"_a, "activations"_a, "packs"_a)
      .def_prop_ro("is_packed", &PyModel::is_packed)
      .def_prop_ro("kernels", &PyModel::kernels)
      .def_prop_ro("threads", &PyModel::threads)
      .def("owns", &PyModel::owns, "cache"_a)
      .def("new_cache", &PyModel::new_cache, "capacity"_a, "cache_format"_a)
      .def("forward", &PyModel::forward, "ids"_a, "caches"_a, "logits"_a, "tap"_a.none() = nb::none())
      .def("forward_from", &PyModel::forward_from, "layer"_a, "residual"_a, "caches"_a, "logits"_a,
           "tap"_a.none() = nb::none())
      .def("unembed", &PyModel::unembed, "residual"_a, "tap"_a.none() = nb::none())
      .def("linear", &PyModel::linear, "name"_a, "x"_a);
  nb::class_<Sampler>(module, "Sampler", "Draws the tokens of one text.")
      .def("__init__", &init_sampler, "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "repetition_penalty"_a,
           "presence_penalty"_a, "frequency_penalty"_a, "logit_bias"_a, "kernels"_a)
      .def("read", &read_tokens, "ids"_a)
      .def("accept", &Sampler::accept, "id"_a)
      .def("draw", &draw_token, "logits"_a, "random"_a);
}
