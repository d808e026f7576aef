#include "client/report/json_schema.h"

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/errors.h"
#include "core/status_macros.h"

namespace gradoracle {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kDefinitions = "#/$defs/";

// One walk over a value: `root` resolves references, `path` is where the walk is.
class SchemaCheck {
 public:
  explicit SchemaCheck(const Json& root) : root_(root) {}

  absl::Status Check(const Json& value, const Json& schema, const std::string& path) const;

 private:
  absl::Status CheckNumber(const Json& value, const Json& schema, const std::string& path) const;
  absl::Status CheckString(const Json& value, const Json& schema, const std::string& path) const;
  absl::Status CheckArray(const Json& value, const Json& schema, const std::string& path) const;
  absl::Status CheckObject(const Json& value, const Json& schema, const std::string& path) const;

  const Json& root_;
};

absl::Status Misfit(const std::string& path, absl::string_view message) {
  const std::string field = path.empty() ? "report" : path;
  return InvalidField("REPORT_INVALID", field, absl::StrCat(field, " ", message));
}

bool HasType(const Json& value, absl::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  // 3.0 is an integer, as in the standard.
  if (type == "integer")
    return value.is_number_integer() || (value.is_number() && std::trunc(value.get<double>()) == value.get<double>());
  return false;
}

// What is there instead, in few words: values may be long or hostile.
std::string InWords(const Json& value) {
  if (value.is_number() || value.is_boolean() || value.is_null()) return value.dump();
  return absl::StrCat("of type ", value.type_name());
}

absl::Status SchemaCheck::Check(const Json& value, const Json& schema, const std::string& path) const {
  if (const auto reference = schema.find("$ref"); reference != schema.end()) {
    const std::string name(absl::StripPrefix(reference->get_ref<const std::string&>(), kDefinitions));
    return Check(value, root_.at("$defs").at(name), path);
  }
  if (const auto type = schema.find("type"); type != schema.end()) {
    const std::vector<std::string> types =
        type->is_array() ? type->get<std::vector<std::string>>() : std::vector<std::string>{type->get<std::string>()};
    bool fits = false;
    for (const std::string& candidate : types) fits = fits || HasType(value, candidate);
    if (!fits)
      return Misfit(path, absl::StrCat("is ", InWords(value), ", but must be of type ", absl::StrJoin(types, " or ")));
  }
  if (const auto constant = schema.find("const"); constant != schema.end() && value != *constant) {
    return Misfit(path, absl::StrCat("must be ", constant->dump()));
  }
  if (const auto choices = schema.find("enum"); choices != schema.end()) {
    bool fits = false;
    for (const Json& choice : *choices) fits = fits || value == choice;
    if (!fits) return Misfit(path, absl::StrCat("must be one of ", choices->dump()));
  }
  if (value.is_number()) return CheckNumber(value, schema, path);
  if (value.is_string()) return CheckString(value, schema, path);
  if (value.is_array()) return CheckArray(value, schema, path);
  if (value.is_object()) return CheckObject(value, schema, path);
  return absl::OkStatus();
}

absl::Status SchemaCheck::CheckNumber(const Json& value, const Json& schema, const std::string& path) const {
  const double number = value.get<double>();
  if (!std::isfinite(number)) return Misfit(path, "is not finite, but must be a finite number");
  if (const auto least = schema.find("minimum"); least != schema.end() && number < least->get<double>()) {
    return Misfit(path, absl::StrCat("is ", value.dump(), ", but must be at least ", least->dump()));
  }
  if (const auto most = schema.find("maximum"); most != schema.end() && number > most->get<double>()) {
    return Misfit(path, absl::StrCat("is ", value.dump(), ", but must be at most ", most->dump()));
  }
  return absl::OkStatus();
}

absl::Status SchemaCheck::CheckString(const Json& value, const Json& schema, const std::string& path) const {
  const auto least = schema.find("minLength");
  if (least == schema.end() || value.get_ref<const std::string&>().size() >= least->get<size_t>())
    return absl::OkStatus();
  return Misfit(path, "must not be empty");
}

absl::Status SchemaCheck::CheckArray(const Json& value, const Json& schema, const std::string& path) const {
  const auto least = schema.find("minItems");
  const auto most = schema.find("maxItems");
  if ((least != schema.end() && value.size() < least->get<size_t>()) ||
      (most != schema.end() && value.size() > most->get<size_t>())) {
    return Misfit(path, absl::StrCat("has ", value.size(), " items, but must have ",
                                     least != schema.end() ? absl::StrCat("at least ", least->dump()) : "",
                                     least != schema.end() && most != schema.end() ? " and " : "",
                                     most != schema.end() ? absl::StrCat("at most ", most->dump()) : ""));
  }
  const auto items = schema.find("items");
  if (items == schema.end()) return absl::OkStatus();
  for (size_t i = 0; i < value.size(); ++i) {
    GRADORACLE_RETURN_IF_ERROR(Check(value[i], *items, absl::StrCat(path, "[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status SchemaCheck::CheckObject(const Json& value, const Json& schema, const std::string& path) const {
  const std::string prefix = path.empty() ? "" : path + ".";
  if (const auto required = schema.find("required"); required != schema.end()) {
    for (const Json& key : *required) {
      const auto& name = key.get_ref<const std::string&>();
      if (!value.contains(name)) return Misfit(prefix + name, "is missing");
    }
  }
  const auto properties = schema.find("properties");
  const auto others = schema.find("additionalProperties");
  for (const auto& [name, member] : value.items()) {
    const bool known = properties != schema.end() && properties->contains(name);
    if (!known && others == schema.end()) continue;
    GRADORACLE_RETURN_IF_ERROR(Check(member, known ? properties->at(name) : *others, prefix + name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAgainstSchema(const Json& value, const Json& schema) {
  return SchemaCheck(schema).Check(value, schema, "");
}

std::string UnknownSchemaKeyword(const Json& schema) {
  static const auto* const kKnown = new std::set<std::string>{"$schema",
                                                              "title",
                                                              "description",
                                                              "type",
                                                              "const",
                                                              "enum",
                                                              "minimum",
                                                              "maximum",
                                                              "minLength",
                                                              "minItems",
                                                              "maxItems",
                                                              "required",
                                                              "properties",
                                                              "items",
                                                              "$ref",
                                                              "$defs",
                                                              "additionalProperties"};
  for (const auto& [keyword, argument] : schema.items()) {
    if (!kKnown->contains(keyword)) return keyword;
    if (keyword == "properties" || keyword == "$defs") {
      for (const Json& member : argument) {
        if (std::string unknown = UnknownSchemaKeyword(member); !unknown.empty()) return unknown;
      }
    } else if (keyword == "items" || keyword == "additionalProperties") {
      if (!argument.is_object()) return keyword;
      if (std::string unknown = UnknownSchemaKeyword(argument); !unknown.empty()) return unknown;
    }
  }
  return "";
}

}  // namespace gradoracle
