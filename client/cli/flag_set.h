#ifndef GRADORACLE_CLIENT_CLI_FLAG_SET_H_
#define GRADORACLE_CLIENT_CLI_FLAG_SET_H_

#include <string>
#include <vector>

namespace gradoracle {

// Where a verb declares its flags. Values arrive as they were typed: the parsing library turns an integer out of range
// into INT64_MAX without a word, so numbers are parsed by flag_values.h.
class FlagSet {
 public:
  virtual ~FlagSet() = default;

  // names: "--count" or synonyms "--count,--gradients". The value stays as it is when the flag is not given; a flag
  // given twice is an error, but for Texts.
  virtual void Text(const std::string& names, std::string& value, const std::string& help,
                    const std::string& placeholder) = 0;
  virtual void Texts(const std::string& names, std::vector<std::string>& values, const std::string& help,
                     const std::string& placeholder) = 0;
  virtual void Switch(const std::string& names, bool& value, const std::string& help) = 0;
  // A value without a flag, e.g. the file of `report FILE`; Texts of them when several may come.
  virtual void Positionals(const std::string& name, std::vector<std::string>& values, const std::string& help) = 0;
  // Known by name and refused: a flag of a later version. Not in the help.
  virtual void Later(const std::string& name) = 0;
  // Below the help: remarks and an example.
  virtual void Footer(const std::string& text) = 0;
};

}  // namespace gradoracle

#endif  // GRADORACLE_CLIENT_CLI_FLAG_SET_H_
