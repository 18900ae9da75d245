{#- prod: the model's own dataset (staging, silver, gold). Any other target: one dataset for all.
    DBT_DATASET_PREFIX goes before every dataset, so that builds can live side by side. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set dataset = custom_schema_name if target.name == 'prod' and custom_schema_name
        else target.schema -%}
    {{ env_var('DBT_DATASET_PREFIX', '') }}{{ dataset | trim }}
{%- endmacro %}
