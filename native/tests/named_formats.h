// The formats of quantised weights, and what ggml calls them.
#pragma once

#include "formats.h"

struct NamedFormat {
  nextword::Format format;
  const char* name;
};
constexpr NamedFormat QUANTIZED[] = {
    {nextword::Format::Q8_0, "Q8_0"}, {nextword::Format::Q4_0, "Q4_0"}, {nextword::Format::Q4_1, "Q4_1"},
    {nextword::Format::Q5_0, "Q5_0"}, {nextword::Format::Q5_1, "Q5_1"}, {nextword::Format::IQ4_NL, "IQ4_NL"},
    {nextword::Format::Q2_K, "Q2_K"}, {nextword::Format::Q3_K, "Q3_K"}, {nextword::Format::Q4_K, "Q4_K"},
    {nextword::Format::Q5_K, "Q5_K"}, {nextword::Format::Q6_K, "Q6_K"}};
