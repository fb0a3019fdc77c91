{
  # A thin shim for tools that look for this file: CMakeLists.txt is the build description.
  "targets": [
    {
      "target_name": "kraken",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/kraken.node"],
          "action": ["node", "tools/build-native.mjs"]
        }
      ]
    }
  ]
}
