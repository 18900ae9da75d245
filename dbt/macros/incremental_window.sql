{#- What an incremental model has still to take in from `source`, which carries `inserted_at`, the
    time at which a row was last written. All values are SQL literals:
      after, until             inserted_at of the rows to take, the first excluded: later ones are
                               left to the next build, so that none is skipped
      changed_from, changed_to `event_time` of those rows: what of the source is to be read
      from, to                 the same, united with where rows of their keys stand in the model by
                               now: what of the model the merge may touch. A revised event time may
                               move a row to another partition.
    changed_from and from lie `hours_before` hours earlier than that, for a model whose rows begin
    before what they are made of. `own_time` is the model's name for event_time where it differs.
    In a build of the platform they are the build's own window, and nothing is asked.
    Otherwise one query over inserted_at, event_time and key finds them; with nothing new they are
    null literals, which match nothing. -#}
{% macro incremental_window(source, event_time, key=none, hours_before=0, own_time=none) -%}
    {%- set own_time = own_time or event_time -%}
    {%- set given = build_window() -%}
    {%- if given -%}
        {%- set earliest = 'timestamp_sub(' ~ given.from ~ ', interval ' ~ hours_before ~ ' hour)'
            if hours_before else given.from -%}
        {{ return({
            'after': given.after, 'until': given.until,
            'changed_from': earliest, 'changed_to': given.to,
            'from': earliest, 'to': given.to,
        }) }}
    {%- endif -%}
    {%- set literal -%}
        coalesce(
                format_timestamp("timestamp '%%Y-%%m-%%d %%H:%%M:%%E6S+00'", %s),
                'cast(null as timestamp)'
            )
    {%- endset -%}
    {%- set query -%}
        with

        watermark as (
            select coalesce(max(inserted_at), timestamp '1970-01-01 00:00:00+00') as taken_until,
            from {{ this }}
            where {{ any_partition(own_time) }}
        ),

        changed as (
            select
                {{ key or 'cast(null as string)' }} as row_key,
                source.{{ event_time }} as event_at,
                source.inserted_at,
            from {{ source }} as source
            cross join watermark
            where source.inserted_at > watermark.taken_until
        ),

        existing as (
            select {{ own_time }} as event_at,
            from {{ this }}
            where
                {{ any_partition(own_time) }}
                and {{ key ~ ' in (select row_key from changed)' if key else 'false' }}
        ),

        bounds as (
            select
                (select taken_until from watermark) as after,
                (select max(inserted_at) from changed) as until,
                (
                    select timestamp_sub(min(event_at), interval {{ hours_before }} hour)
                    from changed
                ) as changed_from,
                (select max(event_at) from changed) as changed_to,
                (select min(event_at) from existing) as existing_from,
                (select max(event_at) from existing) as existing_to,
        ),

        ranges as (
            select
                after,
                until,
                changed_from,
                changed_to,
                least(
                    coalesce(changed_from, existing_from), coalesce(existing_from, changed_from)
                ) as range_from,
                greatest(
                    coalesce(changed_to, existing_to), coalesce(existing_to, changed_to)
                ) as range_to,
            from bounds
        )

        select
            {%- for name in [
                'after', 'until', 'changed_from', 'changed_to', 'range_from', 'range_to',
            ] %}
            {{ (literal | trim) % name }} as {{ name }},
            {%- endfor %}
        from ranges
    {%- endset -%}
    {%- set row = run_query(query).rows[0] -%}
    {{ return({
        'after': row['after'], 'until': row['until'],
        'changed_from': row['changed_from'], 'changed_to': row['changed_to'],
        'from': row['range_from'], 'to': row['range_to'],
    }) }}
{%- endmacro %}


{#- For `incremental_predicates`: the constant range of partitions that the merge may touch. -#}
{% macro merge_range(source, event_time, key=none, hours_before=0, own_time=none) -%}
    {%- set window = incremental_window(source, event_time, key, hours_before, own_time) -%}
    {%- set own_time = own_time or event_time -%}
    DBT_INTERNAL_DEST.{{ own_time }} between {{ window.from }} and {{ window.to }}
    or DBT_INTERNAL_DEST.{{ own_time }} is null
{%- endmacro %}
